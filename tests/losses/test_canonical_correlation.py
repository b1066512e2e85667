import pytest
import torch

from retdm.losses import canonical_correlation_loss

IMAGE, LABEL = torch.tensor([[0.1, -0.2], [0.3, 0.4]]), torch.tensor([[0.0, -0.1], [0.2, 0.2]])


def original(image: list[list[float]], label: list[list[float]], weight: float) -> float:
    """The sum over the batch, by loops."""
    fit = sum((a - b) ** 2 for x, y in zip(image, label, strict=True) for a, b in zip(x, y, strict=True))
    bent = 0.0
    for rows in (image, label):
        for j in range(len(rows[0])):
            for k in range(len(rows[0])):
                bent += (sum(row[j] * row[k] for row in rows) - (j == k)) ** 2
    return fit + weight * bent


def test_worked_example_is_the_original_by_the_rows_of_the_batch() -> None:
    assert original(IMAGE.tolist(), LABEL.tolist(), 0.5) == pytest.approx(1.71865, abs=1e-5)
    assert canonical_correlation_loss(IMAGE, LABEL, rows=None).item() == pytest.approx(1.71865 / 2, abs=1e-5)
    assert canonical_correlation_loss(IMAGE, LABEL, rows=2).item() == pytest.approx(1.71865 / 2, abs=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_any_batch_is_the_original_of_the_rows_it_counts_as(weight: float) -> None:
    image, label = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images, labels = (part.repeat(4, 1).tolist() for part in (image, label))  # 20 rows of the same distribution
    loss = canonical_correlation_loss(image, label, weight=weight, rows=20)
    assert loss.item() == pytest.approx(original(images, labels, weight) / 20, rel=1e-12)


def test_the_size_of_the_batch_changes_nothing() -> None:
    loss = canonical_correlation_loss(IMAGE, LABEL)
    assert canonical_correlation_loss(IMAGE.repeat(7, 1), LABEL.repeat(7, 1)).item() == pytest.approx(loss.item())


def test_is_zero_where_both_meet_and_their_coordinates_are_orthonormal() -> None:
    turn, _ = torch.linalg.qr(torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    assert canonical_correlation_loss(turn, turn, rows=None).item() == pytest.approx(0, abs=1e-12)
    assert canonical_correlation_loss(turn * 6**0.5, turn * 6**0.5, rows=1).item() == pytest.approx(0, abs=1e-12)


def test_gradient_in_float64() -> None:
    inputs = [part.double().requires_grad_() for part in (IMAGE, LABEL)]
    for rows in (None, 3):
        assert torch.autograd.gradcheck(lambda x, y, rows=rows: canonical_correlation_loss(x, y, rows=rows), inputs)


def test_one_row_and_large_embeddings_stay_finite() -> None:
    image = torch.full((1, 4), 800.0, dtype=torch.float16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = canonical_correlation_loss(image, -image.detach())
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"one shape \(B, D\), got \[\(2, 2\), \(1, 2\)\]"):
        canonical_correlation_loss(IMAGE, LABEL[:1])
    with pytest.raises(ValueError, match="must have a row"):
        canonical_correlation_loss(IMAGE[:0], LABEL[:0])
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        canonical_correlation_loss(IMAGE, LABEL, weight=-1)
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        canonical_correlation_loss(IMAGE, LABEL, rows=0)
