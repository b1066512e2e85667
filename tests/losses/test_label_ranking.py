"""The product of two sums against the sum over pairs, then the limits."""

import math

import pytest
import torch
from gradients import gradient
from torch import Tensor

from retdm.losses import label_ranking_loss

SCORES = torch.tensor([[0.8, 0.6, 0.3, 0.4]])
TARGET = torch.tensor([[1, 1, 0, 0]])


def batch() -> tuple[Tensor, Tensor, Tensor]:
    scores = torch.rand(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.tensor([[1.0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0], [1, 0, 0, 0]])
    known = torch.ones(6, 4, dtype=torch.bool)
    known[0, 1] = known[1, 3] = known[5, 0] = False  # row 5 is left without a positive
    return scores.masked_fill(~known, torch.nan), target.masked_fill(~known, torch.nan), known


def definition(scores: Tensor, target: Tensor, known: Tensor, steepness: float) -> float:
    total = 0.0
    for i, row in enumerate(scores.tolist()):
        cells = [c for c in range(len(row)) if known[i, c]]
        pairs = [(p, q) for p in cells for q in cells if target[i, p] == 1 and target[i, q] == 0]
        total += sum(math.exp(-steepness * (row[p] - row[q])) for p, q in pairs) / max(len(pairs), 1)
    return total / len(scores)


def test_worked_example() -> None:
    scores = SCORES.clone().requires_grad_()
    loss = label_ranking_loss(scores, TARGET)
    loss.backward()
    assert loss.item() == pytest.approx(0.202107, abs=1e-6)
    fifth = [-0.054355, -0.147752, 0.076304, 0.125804]
    assert gradient(scores)[0].tolist() == pytest.approx([5 * g for g in fifth], abs=1e-5)


@pytest.mark.parametrize("steepness", [5.0, 1.0])
def test_equals_the_sum_over_pairs_and_rows_without_pairs_count_as_zero(steepness: float) -> None:
    scores, target, known = batch()
    loss = label_ranking_loss(scores, target, known, steepness=steepness)
    assert loss.item() == pytest.approx(definition(scores, target, known, steepness), abs=1e-12)


def test_gradient_in_float64() -> None:
    scores, target, known = batch()
    scores = scores.nan_to_num(0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: label_ranking_loss(s, target, known), scores)
    label_ranking_loss(scores, target, known).backward()
    assert not gradient(scores)[~known].any() and not gradient(scores)[[2, 3, 5]].any()


@pytest.mark.parametrize("target", [[0.0, 0, 0], [1.0, 1, 1]])
def test_no_pair_gives_zero_with_a_graph(target: Tensor) -> None:
    scores = torch.tensor([[900.0, -900.0, 0.0]], requires_grad=True)
    loss = label_ranking_loss(scores, torch.tensor([target]))
    loss.backward()
    assert loss.item() == 0 and not gradient(scores).any()


def test_one_label_has_no_pair() -> None:
    assert label_ranking_loss(torch.tensor([[0.3]]), torch.tensor([[1]])).item() == 0


def test_only_differences_of_scores_matter() -> None:
    for shift in (800.0, -800.0):
        loss = label_ranking_loss((SCORES + shift).double(), TARGET)
        assert loss.item() == pytest.approx(0.202107, abs=1e-3)


def test_extreme_scores_in_their_order_give_zero_with_finite_gradients() -> None:
    scores = torch.tensor([[800.0, -800.0]], requires_grad=True)
    loss = label_ranking_loss(scores, torch.tensor([[1, 0]]))
    loss.backward()
    assert loss.item() == 0 and gradient(scores).isfinite().all()


def test_saturated_probabilities_against_their_order_stay_finite() -> None:
    logits = torch.tensor([[-800.0, 800.0]], requires_grad=True)
    loss = label_ranking_loss(logits.sigmoid(), torch.tensor([[1, 0]]))
    loss.backward()
    assert loss.item() == pytest.approx(math.exp(5)) and gradient(logits).isfinite().all()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="steepness must be above 0, got 0"):
        label_ranking_loss(SCORES, TARGET, steepness=0)
    with pytest.raises(ValueError, match=r"one shape \(B, L\)"):
        label_ranking_loss(SCORES, TARGET[:, :2])
