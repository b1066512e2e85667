import math
from typing import Any

import pytest
import torch
from gradients import gradient
from torch import Tensor

from retdm.losses import binary_cross_entropy, distribution_balanced_loss, focal_loss

COUNTS: dict[str, Any] = {
    "positives": torch.tensor([90, 30, 5, 0, 100]),
    "negatives": torch.tensor([10, 70, 95, 100, 0]),
}
PLAIN: dict[str, Any] = {"alpha": 0.5, "beta": 0.0, "scale": 1.0, "kappa": 0.0, "gamma": 0.0}  # all weights are 1


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(7, 5, generator=generator, dtype=torch.float64)
    target = (torch.rand(7, 5, generator=generator) > 0.5).double()
    known = torch.rand(7, 5, generator=generator) > 0.2
    target[0], target[1], known[2] = 0, 1, False  # without labels, with all, unknown
    return logits, target.masked_fill(~known, torch.nan), known


def reference(logits: Tensor, target: Tensor, known: Tensor, how: dict[str, float]) -> float:
    """The definition as loops over floats."""
    counts = [(max(p, 1), max(n, 1)) for p, n in zip(*(column.tolist() for column in COUNTS.values()), strict=True)]
    cells = []
    for i in range(len(logits)):
        drawn = sum(1 / counts[j][0] for j in range(5) if known[i, j] and target[i, j] == 1)
        for j in range(5):
            if not known[i, j]:
                continue
            weight = how["alpha"] + 1
            if drawn:
                ratio = 1 / counts[j][0] / drawn
                weight = how["alpha"] + 1 / (1 + math.exp(-how["beta"] * (ratio - how["mu"])))
            z = logits[i, j].item() - how["kappa"] * math.log(counts[j][1] / counts[j][0])
            scale = 1 if target[i, j] == 1 else how["scale"]
            cost = math.log1p(math.exp(-z if target[i, j] == 1 else scale * z)) / scale
            right = math.exp(-scale * cost)
            cells.append(weight * math.pow(1 - right, how["gamma"]) * cost)
    return sum(cells) / len(cells)


@pytest.mark.parametrize(
    "changed", [{}, {"gamma": 0.0}, {"scale": 5.0, "mu": 0.3}, {"kappa": 0.0, "alpha": 0.0, "beta": 3.0}]
)
def test_equals_the_loops(changed: dict[str, Any]) -> None:
    logits, target, known = batch()
    how = {"alpha": 0.1, "beta": 10.0, "mu": 0.2, "scale": 2.0, "kappa": 0.05, "gamma": 2.0} | changed
    loss = distribution_balanced_loss(logits.masked_fill(~known, torch.nan), target, known, **COUNTS, **changed)
    assert loss.item() == pytest.approx(reference(logits, target, known, how), abs=1e-12)


def test_without_weights_shift_and_scale_it_is_binary_cross_entropy_or_focal() -> None:
    logits, target, known = batch()
    loss = distribution_balanced_loss(logits, target, known, **COUNTS, **PLAIN)
    assert loss.item() == binary_cross_entropy(logits, target, known).item()
    focused = distribution_balanced_loss(logits, target, known, **COUNTS, **PLAIN | {"gamma": 2.0})
    assert focused.item() == focal_loss(logits, target, known, alpha=None).item()


def test_a_frequent_label_beside_a_rare_one_weighs_less_than_alone() -> None:
    logits, none_known = torch.zeros(2, 5), torch.zeros(2, 5, dtype=torch.bool)
    target = torch.tensor([[1.0, 0, 0, 0, 0], [1, 0, 1, 0, 0]])
    found = []
    for row in range(2):
        known = none_known.clone()
        known[row, [0, 2]] = True
        weight = logits.clone().requires_grad_()
        distribution_balanced_loss(weight, target, known, **COUNTS, kappa=0, gamma=0).backward()
        found.append(abs(gradient(weight)[row, 0].item()))
    weights = [0.1 + 1 / (1 + math.exp(-10 * (ratio - 0.2))) for ratio in (1, 5 / 95)]  # (1/90) / (1/90 + 1/5)
    assert found[1] / found[0] == pytest.approx(weights[1] / weights[0], rel=1e-5) and found[1] < found[0] / 3


def test_gradient_in_float64() -> None:
    logits, target, known = batch()
    assert torch.autograd.gradcheck(
        lambda z: distribution_balanced_loss(z, target, known, **COUNTS), logits.requires_grad_()
    )


def test_extreme_logits_are_finite() -> None:
    logits = torch.tensor([[800.0, -800, 800, -800, 0]], requires_grad=True)
    loss = distribution_balanced_loss(logits, torch.tensor([[1, 1, 0, 0, 1]]), **COUNTS)
    loss.backward()
    assert loss.isfinite() and loss > 100 and gradient(logits).isfinite().all()


def test_no_known_cell_gives_zero_with_a_graph() -> None:
    logits = torch.randn(2, 5, requires_grad=True)
    loss = distribution_balanced_loss(logits, torch.ones(2, 5), torch.zeros(2, 5, dtype=torch.bool), **COUNTS)
    loss.backward()
    assert loss.item() == 0 and not gradient(logits).any()


def test_wrong_arguments_are_named() -> None:
    cells = (torch.zeros(1, 5), torch.zeros(1, 5))
    with pytest.raises(ValueError, match="beta must be at least 0, got -1"):
        distribution_balanced_loss(*cells, **COUNTS, beta=-1)
    with pytest.raises(ValueError, match="scale must be above 0, got 0"):
        distribution_balanced_loss(*cells, **COUNTS, scale=0)
    with pytest.raises(ValueError, match=r"must be \(5,\), got \[\(4,\), \(5,\)\]"):
        distribution_balanced_loss(*cells, positives=torch.ones(4), negatives=torch.ones(5))
