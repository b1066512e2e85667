"""Poolings against plain loops and worked numbers."""

import math
from typing import Any, get_args

import pytest
import torch
from padded_bags import SIZES, bags, one_bag
from torch import nn

from retdm.methods.components.pooling import Pooling, attended_score, log_attention, pool

POOLINGS = get_args(Pooling)
WORKED = [-2.0, 0.0, 3.0]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def by_hand(values: list[float], pooling: str, sharpness: float = 5.0, top: float = 0.1) -> float:
    """A bag's logit as the definitions say, in plain numbers."""
    n, chances = len(values), [sigmoid(value) for value in values]
    kept = max(1, round(top * n))
    return {
        "max": lambda: max(values),
        "mean": lambda: sum(values) / n,
        "lse": lambda: math.log(sum(math.exp(sharpness * value) for value in values) / n) / sharpness,
        "topk": lambda: sum(sorted(values)[-kept:]) / kept,
        "mean_score": lambda: logit(sum(chances) / n),
        "noisy_or": lambda: logit(1 - math.prod(1 - p for p in chances)),
        "linear_softmax": lambda: logit(sum(p * p for p in chances) / sum(chances)),
    }[pooling]()


# Poolings


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_pooling_is_what_its_definition_says(pooling: Any) -> None:
    logits, mask = bags()
    found = pool(logits, mask, pooling, sharpness=1.7, top=0.5)
    for b, size in enumerate(SIZES):
        for label in range(3):
            expected = by_hand(logits[b, :size, label].tolist(), pooling, 1.7, 0.5)
            assert found[b, label].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("pooling", "sharpness", "score"),
    [
        ("max", 5, 0.952574),
        ("mean_score", 5, 0.523926),
        ("mean", 5, 0.582570),
        ("lse", 1, sigmoid(1.956373)),
        ("lse", 5, sigmoid(2.780278)),
        ("noisy_or", 5, 0.979114),
        ("noisy_or", 5, sigmoid(3.847555)),
        ("linear_softmax", 5, 0.745403),
    ],
)
def test_worked_numbers(pooling: Any, sharpness: float, score: float) -> None:
    found = pool(*one_bag(WORKED), pooling, sharpness=sharpness).sigmoid().item()
    assert found == pytest.approx(score, abs=6e-7)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_of_a_pooling_are_those_of_its_values(pooling: Any) -> None:
    logits, mask = bags()
    logits[0, :, 0] -= 25  # where noisy-or takes another form
    logits[2, :, 1] += 25
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pool(x, mask, pooling, top=0.4), logits, fast_mode=True)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("values", [[800.0, 800.0], [-800.0, -800.0], [-800.0, 800.0], [0.0, -800.0], [90.0, -90.0]])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_logits_however_large_give_numbers_and_gradients(pooling: Any, values: list[float], kind: torch.dtype) -> None:
    logits, mask = one_bag([*values, float("nan")])
    mask[0, -1] = False
    logits = logits.to(kind).requires_grad_()
    found = pool(logits, mask, pooling)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert found.isfinite().all()
    assert gradient.isfinite().all()
    assert gradient[0, -1] == 0
    if pooling != "mean_score" or values[0] == values[1]:  # the mean of 0 and 1 stands still
        assert gradient[:, :2].abs().sum() > 0.1


def test_noisy_or_of_hopeless_instances_is_the_sum_of_their_chances() -> None:
    for value in (-20.0, -40.0, -90.0, -800.0):
        found = pool(*one_bag([value] * 4), "noisy_or").item()
        assert found == pytest.approx(value + math.log(4), rel=1e-9)


def test_topk_counts_at_least_one_and_all_of_a_whole_share() -> None:
    logits, mask = bags()
    assert torch.equal(pool(logits, mask, "topk", top=0.01), pool(logits, mask, "max"))
    assert torch.allclose(pool(logits, mask, "topk", top=1.0), pool(logits, mask, "mean"))


# Attention


def test_detector_and_classifier_worked_numbers() -> None:
    logits, mask = one_bag(WORKED)
    relevance, _ = one_bag([0.0, 1.0, 2.0])
    share = log_attention(relevance, mask).exp()
    assert share.flatten().tolist() == pytest.approx([0.090031, 0.244728, 0.665241], abs=6e-7)
    found = attended_score(logits, relevance, mask)
    assert found.sigmoid().item() == pytest.approx(0.766787, abs=6e-7)
    assert nn.functional.softplus(-found).item() == pytest.approx(0.265546, abs=6e-7)
    assert nn.functional.softplus(found).item() == pytest.approx(1.455805, abs=6e-7)


def test_attended_score_is_the_weighted_mean_of_chances() -> None:
    logits, mask = bags()
    relevance = bags()[0].flip(0) * 0.7 + logits
    found = attended_score(logits, relevance, mask)
    for b, size in enumerate(SIZES):
        for label in range(3):
            shares = [math.exp(value) for value in relevance[b, :size, label].tolist()]
            chances = [sigmoid(value) for value in logits[b, :size, label].tolist()]
            p = sum(share * chance for share, chance in zip(shares, chances, strict=True)) / sum(shares)
            assert found[b, label].item() == pytest.approx(logit(p), rel=1e-9)


@pytest.mark.parametrize("relevance", [[800.0, -800.0], [0.0, 0.0]])
@pytest.mark.parametrize("values", [[800.0, 800.0], [-800.0, 800.0]])
def test_attended_scores_however_large_are_numbers_with_gradients(relevance: list[float], values: list[float]) -> None:
    logits, mask = one_bag([*values, float("nan")])
    where, _ = one_bag([*relevance, float("inf")])
    mask[0, -1] = False
    inputs = [logits.requires_grad_(), where.requires_grad_()]
    found = attended_score(logits, where, mask)
    gradients = torch.autograd.grad(found.sum(), inputs)
    assert found.isfinite().all()
    assert all(gradient.isfinite().all() and gradient[0, -1] == 0 for gradient in gradients)
    if values[0] == values[1] or relevance[0] > 0:  # the mean of 0 and 1 stands still
        assert gradients[0].abs().sum() > 0.1
