"""The center loss and its centres' own rule against loops, then the limits."""

import pytest
import torch
from gradients import gradient
from torch import Tensor

from retdm.losses import center_loss, moved_centers

X = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
CENTERS = torch.tensor([[0.0, 0.0], [1.0, 1.0], [4.0, 4.0]])
TARGET = torch.tensor([[1, 1, 0], [0, 1, 0]])


def batch(size: int = 6, labels: int = 4, width: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, width, generator=generator, dtype=torch.float64)
    centers = torch.randn(labels, width, generator=generator, dtype=torch.float64)
    target = torch.tensor([[1.0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0], [1, 0, 0, 0]])
    known = torch.ones(size, labels, dtype=torch.bool)
    known[0, 1] = known[3, 3] = known[5, 0] = False
    return x, target.masked_fill(~known, torch.nan), known, centers


def labels_of(target: Tensor, known: Tensor, row: int) -> list[int]:
    return [c for c in range(target.shape[1]) if known[row, c] and target[row, c] == 1]


def test_worked_example() -> None:
    assert center_loss(X, TARGET, None, CENTERS).item() == pytest.approx(2.0)
    moved = moved_centers(CENTERS, X, TARGET, None, 0.5)
    torch.testing.assert_close(moved, torch.tensor([[0.25, 0.5], [4 / 3, 1.0], [4.0, 4.0]]))


def test_equals_the_loop_and_rows_without_labels_count_as_zero() -> None:
    x, target, known, centers = batch()
    total = 0.0
    for i in range(6):
        own = labels_of(target, known, i)
        for c in own:
            total += sum((a - b) ** 2 for a, b in zip(x[i].tolist(), centers[c].tolist(), strict=True)) / 2 / len(own)
    assert len(labels_of(target, known, 5)) == 0  # its only label is unknown
    assert center_loss(x, target, known, centers).item() == pytest.approx(total / 6, abs=1e-12)


def test_centers_move_as_the_loop_says() -> None:
    x, target, known, centers = batch()
    before = centers.clone()
    moved = moved_centers(centers, x, target, known, 0.3)
    for c in range(4):
        own = [i for i in range(6) if c in labels_of(target, known, i)]
        for e in range(3):
            step = sum(centers[c, e].item() - x[i, e].item() for i in own) / (1 + len(own))
            assert moved[c, e].item() == pytest.approx(centers[c, e].item() - 0.3 * step, abs=1e-12)
    assert torch.equal(centers, before)


def test_gradient_in_float64() -> None:
    x, target, known, centers = batch()
    assert torch.autograd.gradcheck(lambda e: center_loss(e, target, known, centers), x.requires_grad_())


def test_neither_the_loss_nor_the_step_differentiates_the_centers() -> None:
    centers, x = CENTERS.clone().requires_grad_(), X.clone().requires_grad_()
    center_loss(x, TARGET, None, centers).backward()
    assert centers.grad is None and (gradient(x) != 0).any()
    assert not moved_centers(centers, x, TARGET, None, 0.5).requires_grad


def test_an_image_without_a_label_does_not_pull_its_center() -> None:
    far = torch.tensor([[1.0, 2.0], [300.0, 0.0]])
    assert torch.equal(moved_centers(CENTERS, far, TARGET, None, 0.5)[0], torch.tensor([0.25, 0.5]))


def test_no_label_at_all_gives_zero_with_a_graph_and_moves_nothing() -> None:
    x = X.clone().requires_grad_()
    loss = center_loss(x, torch.zeros(2, 3), None, CENTERS)
    loss.backward()
    assert loss.item() == 0 and not gradient(x).any()
    assert torch.equal(moved_centers(CENTERS, X, torch.zeros(2, 3), None, 0.5), CENTERS)


def test_one_row_with_all_labels() -> None:
    loss = center_loss(X[:1], torch.ones(1, 3), None, CENTERS)
    assert loss.item() == pytest.approx((5 + 1 + 13) / 3 / 2)


def test_an_embedding_on_its_center_has_a_zero_gradient() -> None:
    x = torch.tensor([[1.0, 1.0]], requires_grad=True)
    loss = center_loss(x, torch.tensor([[0, 1, 0]]), None, CENTERS)
    loss.backward()
    assert loss.item() == 0 and not gradient(x).any()


def test_large_embeddings_stay_finite() -> None:
    x = torch.tensor([[800.0, -800.0]], dtype=torch.float16, requires_grad=True)
    loss = center_loss(x, torch.tensor([[1, 0, 0]]), None, CENTERS)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(640000)
    assert gradient(x).tolist() == [[800, -800]]


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"centers must be \(3, 2\), got \(2, 2\)"):
        center_loss(X, TARGET, None, CENTERS[:2])
    with pytest.raises(ValueError, match=r"embedding must be \(2, D\), got \(1, 2\)"):
        center_loss(X[:1], TARGET, None, CENTERS)
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\], got 1.5"):
        moved_centers(CENTERS, X, TARGET, None, 1.5)
