import math

import pytest
import torch
from gradients import gradient
from torch import Tensor

from retdm.losses import softmax_cross_entropy

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
TARGET = torch.tensor([[1, 0, 1, 0]])


def batch() -> tuple[Tensor, Tensor, Tensor]:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.tensor([[1.0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0], [1, 0, 0, 0]])
    known = torch.ones(6, 4, dtype=torch.bool)
    known[0, 1] = known[1, 3] = known[5, 0] = False  # row 5 is left without a positive
    return logits, target.masked_fill(~known, torch.nan), known


def definition(logits: Tensor, target: Tensor, known: Tensor) -> float:
    rows = []
    for i, row in enumerate(logits.tolist()):
        cells = [c for c in range(len(row)) if known[i, c]]
        own = [c for c in cells if target[i, c] == 1]
        total = sum(math.exp(row[c]) for c in cells)
        if own:
            rows.append(sum(-math.log(math.exp(row[c]) / total) for c in own) / len(own))
    return sum(rows) / len(rows)


def test_worked_example() -> None:
    assert softmax_cross_entropy(LOGITS, TARGET).item() == pytest.approx(1.440190, abs=1e-6)


def test_equals_the_loop_over_images_with_labels() -> None:
    logits, target, known = batch()
    expected = definition(logits, target, known)
    assert softmax_cross_entropy(logits, target, known).item() == pytest.approx(expected, abs=1e-12)


def test_unknown_cells_are_out_of_the_softmax_and_never_read() -> None:
    logits, target, known = batch()
    for nonsense in (torch.nan, torch.inf, -torch.inf):
        given = logits.masked_fill(~known, nonsense).requires_grad_()
        loss = softmax_cross_entropy(given, target, known)
        loss.backward()
        assert loss.item() == pytest.approx(definition(logits, target, known), abs=1e-12)
        assert (
            not gradient(given)[~known].any() and not gradient(given)[[2, 5]].any() and gradient(given).isfinite().all()
        )


@pytest.mark.parametrize("masked", [False, True])
def test_gradient_in_float64(masked: bool) -> None:
    logits, target, known = batch()
    arguments = (target, known) if masked else (target.nan_to_num(0), None)
    assert torch.autograd.gradcheck(lambda z: softmax_cross_entropy(z, *arguments), logits.requires_grad_())


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_no_label_gives_zero_with_a_graph() -> None:
    for known in (None, torch.zeros(1, 4, dtype=torch.bool)):
        logits = LOGITS.clone().requires_grad_()
        with torch.autograd.detect_anomaly(check_nan=True):  # no NaN on the way either
            loss = softmax_cross_entropy(logits, torch.zeros(1, 4), known)
            loss.backward()
        assert loss.item() == 0 and not gradient(logits).any()


def test_all_labels_ask_for_equal_logits() -> None:
    logits = torch.zeros(1, 4, requires_grad=True)
    loss = softmax_cross_entropy(logits, torch.ones(1, 4))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(4)) and gradient(logits).abs().max() < 1e-7


def test_one_known_label_costs_nothing() -> None:
    known = torch.tensor([[True, False, False, False]])
    assert softmax_cross_entropy(LOGITS, TARGET, known).item() == 0
    assert softmax_cross_entropy(torch.tensor([[5.0]]), torch.tensor([[1]])).item() == 0


def test_extreme_logits_are_exact() -> None:
    logits = torch.tensor([[-800.0, 800.0]], dtype=torch.float16, requires_grad=True)
    loss = softmax_cross_entropy(logits, torch.tensor([[1, 0]]))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == 1600 and gradient(logits).tolist() == [[-1, 1]]


def test_unequal_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"got \[\(1, 4\), \(1, 3\)\]"):
        softmax_cross_entropy(LOGITS, TARGET[:, :3])
