import math
from typing import Any

import pytest
import torch
from gradients import gradient
from torch import Tensor

from retdm.losses import binary_cross_entropy

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
TARGET = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])


def cell(logit: float, target: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -math.log(p if target else 1 - p)


def test_worked_example() -> None:
    assert binary_cross_entropy(LOGITS[:1], TARGET[:1]).item() == pytest.approx(0.304756, abs=1e-6)


def test_mean_over_cells_and_sum_over_labels() -> None:
    cells = [cell(z, y) for z, y in zip(LOGITS.flatten().tolist(), TARGET.flatten().tolist(), strict=True)]
    assert binary_cross_entropy(LOGITS, TARGET).item() == pytest.approx(sum(cells) / 6)
    assert binary_cross_entropy(LOGITS, TARGET, reduction="sum").item() == pytest.approx(sum(cells) / 2)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_unknown_cells_count_in_neither_sum_nor_denominator(reduction: Any) -> None:
    known = torch.tensor([[True, True, False], [False, True, True]])
    target = TARGET.masked_fill(~known, torch.nan)
    logits = LOGITS.masked_fill(~known, torch.inf).requires_grad_()
    loss = binary_cross_entropy(logits, target, known, reduction=reduction)
    mean = (cell(2, 1) + cell(-1, 0) + cell(3, 0) + cell(-2, 1)) / 4
    assert loss.item() == pytest.approx(mean * (3 if reduction == "sum" else 1))
    loss.backward()
    assert not gradient(logits)[~known].any() and (gradient(logits)[known] != 0).all()


def test_a_positive_cell_counts_as_often_as_its_label_weighs() -> None:
    known = torch.tensor([[True, True, False], [True, True, True]])
    weights = torch.tensor([2.0, 5.0, 0.5])
    loss = binary_cross_entropy(LOGITS, TARGET.masked_fill(~known, torch.nan), known, pos_weight=weights)
    expected = (2 * cell(2, 1) + cell(-1, 0) + cell(0, 0) + cell(3, 0) + 0.5 * cell(-2, 1)) / 5
    assert loss.item() == pytest.approx(expected)
    equal = binary_cross_entropy(LOGITS, TARGET, pos_weight=torch.ones(3))
    assert equal.item() == binary_cross_entropy(LOGITS, TARGET).item()


def test_no_known_cell_gives_zero_with_a_graph() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = binary_cross_entropy(logits, TARGET, torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and not gradient(logits).any()


def test_large_logits_are_exact() -> None:
    loss = binary_cross_entropy(torch.tensor([[-800.0, 800.0]]), torch.tensor([[1, 1]]))
    assert loss.item() == 400


def test_half_precision_is_computed_in_float32() -> None:
    logits = torch.full((50, 4), 2.0, dtype=torch.float16, requires_grad=True)
    loss = binary_cross_entropy(logits, torch.ones(50, 4, dtype=torch.int64))
    loss.backward()
    assert loss.dtype == torch.float32 and gradient(logits).dtype == torch.float16
    assert loss.item() == pytest.approx(cell(2, 1), rel=1e-6)


@pytest.mark.parametrize("known", [None, torch.tensor([[True, False, True], [True, True, False]])])
def test_gradient_in_float64(known: Tensor) -> None:
    logits = LOGITS.double().requires_grad_()
    weights = torch.tensor([2.0, 5.0, 0.5])
    assert torch.autograd.gradcheck(lambda z: binary_cross_entropy(z, TARGET, known, pos_weight=weights), logits)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="'mean' or 'sum', got 'none'"):
        binary_cross_entropy(LOGITS, TARGET, reduction="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"one shape \(B, L\), got \[\(2, 3\), \(1, 3\)\]"):
        binary_cross_entropy(LOGITS, TARGET[:1])
    with pytest.raises(ValueError, match="known must be bool"):
        binary_cross_entropy(LOGITS, TARGET, torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"got \[\(3,\), \(3,\)\]"):
        binary_cross_entropy(LOGITS[0], TARGET[0])
