"""Thresholds a label against every threshold in turn, and how few positives lean on all labels together."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from awkward import Case

from retdm.decisions.thresholds import FEW_POSITIVES, NEVER, Floor, best_threshold, f1_thresholds, floor_thresholds


def candidates(scores: np.ndarray) -> list[float]:
    """Every threshold that parts the scores in another way, midway between neighbours."""
    falling = sorted({float(s) for s in scores}, reverse=True)
    return [(a + b) / 2 for a, b in zip(falling, [*falling[1:], 0.0], strict=True)]


def counted(scores: np.ndarray, target: np.ndarray, threshold: float) -> tuple[int, int]:
    """Hits, and predictions, in a loop over the cells."""
    hits = predicted = 0
    for score, relevant in zip(scores, target, strict=True):
        predicted += bool(score >= threshold)
        hits += bool(score >= threshold and relevant)
    return hits, predicted


def over_floor(scores: np.ndarray, target: np.ndarray, floor: str, least: float) -> float:
    """The definition: the best other criterion among thresholds over the floor, then the best of the floor's own."""
    best, positives = (-1.0, -1.0, NEVER), int(target.sum())
    if positives == 0:
        return 0.5
    for threshold in candidates(scores):
        hits, predicted = counted(scores, target, threshold)
        precision, recall = hits / predicted, hits / positives
        own, other = (precision, recall) if floor == "precision" else (recall, precision)
        if own >= least and (other, own) > best[:2]:
            best = (other, own, threshold)
    return best[2]


def many(seed: int, n: int = 120, labels: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Informative scores of labels with more than ten positives each, ties and unknown cells."""
    g = np.random.default_rng(seed)
    target = (g.random((n, labels)) < 0.35).astype(int)
    scores = np.clip(g.normal(0.35 + 0.25 * target, 0.2), 0, 1).round(2)
    known = g.random((n, labels)) < 0.9
    assert (target * known).sum(axis=0).min() > FEW_POSITIVES
    return scores, target, known


@pytest.mark.parametrize(
    ("floor", "least"), [("precision", 0.9), ("precision", 0.6), ("recall", 0.95), ("recall", 1.0)]
)
def test_a_floor_is_kept_at_the_best_of_the_other_criterion(floor: Floor, least: float) -> None:
    for seed in range(5):
        scores, target, known = many(seed)
        found = floor_thresholds(scores, target, known, floor, least)
        for j in range(target.shape[1]):
            given = known[:, j]
            assert found[j] == over_floor(scores[given, j], target[given, j], floor, least)


def test_a_precision_that_no_threshold_reaches_predicts_nothing_in_any_precision() -> None:
    target = np.tile([[0], [1]], (FEW_POSITIVES, 1))
    scores = np.where(target == 1, 0.2, 1.0)
    found = floor_thresholds(scores, target, np.ones_like(target), "precision", 0.6)
    assert found.tolist() == [NEVER] and NEVER > 1
    assert not (np.ones(3, np.float32) >= np.float32(NEVER)).any() and not (np.ones(3) >= NEVER).any()


@pytest.mark.parametrize(("floor", "cautious"), [("precision", max), ("recall", min)])
def test_few_positives_take_the_more_cautious_of_their_own_and_the_pooled_threshold(
    floor: Floor, cautious: Any
) -> None:
    scores, target, known = many(7)
    for few in (FEW_POSITIVES - 1, FEW_POSITIVES):
        some = target.copy()
        some[np.flatnonzero(target[:, 0] * known[:, 0])[few:], 0] = 0
        own = over_floor(scores[known[:, 0], 0], some[known[:, 0], 0], floor, 0.8)
        pooled = over_floor(scores[known], some[known], floor, 0.8)
        assert own != pooled
        expected = own if few == FEW_POSITIVES else cautious(own, pooled)
        assert floor_thresholds(scores, some, known, floor, 0.8)[0] == expected


def test_f1_thresholds_mix_the_labels_own_with_the_pooled_in_logits_by_their_positives() -> None:
    scores, target, known = many(3)
    found, pooled = f1_thresholds(scores, target, known), best_threshold(scores, target, known)
    for j in range(target.shape[1]):
        own = best_threshold(scores[:, [j]], target[:, [j]], known[:, [j]])
        positives = int((target * known)[:, j].sum())
        odds = (own / (1 - own)) ** positives * (pooled / (1 - pooled)) ** 10
        assert found[j] == pytest.approx(odds ** (1 / (positives + 10)) / (1 + odds ** (1 / (positives + 10))))


def test_a_label_without_positives_takes_the_pooled_threshold(case: Case) -> None:
    absent = 2
    pooled = best_threshold(case.scores, case.target, case.known)
    assert f1_thresholds(case.scores, case.target, case.known)[absent] == pooled
    floors: tuple[Floor, Floor] = ("precision", "recall")
    for floor in floors:
        given = case.known
        expected = over_floor(case.scores[given], case.target[given], floor, 0.5)
        assert floor_thresholds(case.scores, case.target, given, floor, 0.5)[absent] == expected


def test_unknown_cells_and_the_order_of_images_change_nothing(case: Case) -> None:
    rows = np.random.default_rng(1).permutation(len(case.scores))
    other = np.where(case.known, case.scores, 0.123), np.where(case.known, case.target, 1), case.known
    for choose in (f1_thresholds, partial(floor_thresholds, floor="precision", least=0.7)):
        expected = choose(case.scores, case.target, case.known)
        assert np.array_equal(choose(*other), expected)
        assert np.array_equal(choose(*(each[rows] for each in other)), expected)


def test_scores_of_zero_and_one_leave_finite_thresholds() -> None:
    scores, target = np.array([[0.0, 1.0]] * 30), np.ones((30, 2), int)
    found = f1_thresholds(scores, target, np.ones_like(target))
    assert ((found > 0) & (found < 1)).all()
    assert floor_thresholds(scores, target, np.ones_like(target), "recall", 1.0).tolist() == [0.0, 0.5]
