"""Suspicion of labels: the definitions as loops, and what they must do."""

import math

import numpy as np
import pytest

from retdm.review.suspicion import RANKINGS, Ranking, suspicion

RNG = np.random.default_rng(0)
SCORES = RNG.random((40, 4))
TARGET = (RNG.random((40, 4)) < [0.5, 0.2, 0.3, 0.4]).astype(np.uint8)
KNOWN = RNG.random((40, 4)) < 0.9


def reference(i: int, j: int, ranking: Ranking) -> float:
    """The suspicion against one cell, as it is defined."""

    def probability(row: int, value: int) -> float:
        return float(SCORES[row, j] if value else 1 - SCORES[row, j])

    def mean_of(value: int) -> float:
        of = [probability(row, value) for row in range(40) if KNOWN[row, j] and TARGET[row, j] == value]
        return sum(of) / len(of)

    v = int(TARGET[i, j]) if KNOWN[i, j] else 0
    own, other = probability(i, v), probability(i, 1 - v)
    if ranking == "self_confidence":
        return other - own
    if ranking == "margin":
        return (other - mean_of(1 - v)) - (own - mean_of(v))
    counts = [sum(KNOWN[r, c] and TARGET[r, c] == value for r in range(40) for c in range(4)) for value in (0, 1)]
    return math.log(other / own) + math.log(counts[v] / counts[1 - v]) / 2


@pytest.mark.parametrize("ranking", RANKINGS)
def test_equals_the_definition(ranking: Ranking) -> None:
    expected = [[reference(i, j, ranking) for j in range(4)] for i in range(40)]
    np.testing.assert_allclose(suspicion(SCORES, TARGET, KNOWN, ranking), expected, rtol=1e-9)


@pytest.mark.parametrize("ranking", RANKINGS)
def test_of_one_label_and_value_the_less_likely_is_the_more_suspicious(ranking: Ranking) -> None:
    found = suspicion(SCORES, TARGET, KNOWN, ranking)
    for value, sign in ((1, 1), (0, -1)):
        cells = KNOWN[:, 0] & (TARGET[:, 0] == value)
        assert (np.argsort(found[cells, 0]) == np.argsort(-sign * SCORES[cells, 0])).all()


def test_a_missing_label_among_rare_ones_is_more_suspicious_than_a_wrong_one_of_the_same_score() -> None:
    target = np.zeros((100, 1), np.uint8)
    target[:10] = 1
    scores = np.full((100, 1), 0.5)
    scores[0], scores[50] = 0.1, 0.9
    known = np.ones((100, 1), bool)
    found = suspicion(scores, target, known, "odds")
    assert found[50, 0] > found[0, 0]
    assert found[50, 0] - found[0, 0] == pytest.approx(math.log(90 / 10))
    equal = suspicion(scores, target, known, "self_confidence")
    assert equal[50, 0] == pytest.approx(equal[0, 0])


@pytest.mark.parametrize("ranking", RANKINGS)
def test_a_label_without_two_values_is_not_doubted_and_sure_scores_are_finite(ranking: Ranking) -> None:
    target = np.array([[1, 1], [1, 0], [1, 1]], np.uint8)
    scores = np.array([[0.1, 0.0], [0.2, 1.0], [0.3, 0.5]])
    found = suspicion(scores, target, np.ones((3, 2), bool), ranking)
    assert np.isnan(found[:, 0]).all() and np.isfinite(found[:, 1]).all()
