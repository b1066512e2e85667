"""Small random data with everything awkward in it: ties, empty and full rows, an absent class, unknown cells."""

from typing import NamedTuple

import numpy as np
import pytest


class Case(NamedTuple):
    scores: np.ndarray
    target: np.ndarray
    known: np.ndarray
    predicted: np.ndarray


def awkward(seed: int) -> Case:
    g = np.random.default_rng(seed)
    n, labels = 40, 6
    scores = g.integers(0, 5, (n, labels)) / 4  # five distinct values: ties everywhere
    target = (g.random((n, labels)) < 0.35).astype(np.int64)
    target[:4] = 0
    target[4:8] = 1
    target[:, 2] = 0  # an absent class
    known = g.random((n, labels)) < 0.8
    known[8] = False
    known[4:8, 2] = False  # so that rows 4 to 7 are full
    predicted = scores >= 0.6
    predicted[:, 5] = False  # has positives, never predicted
    return Case(scores, target, known, predicted)


@pytest.fixture(params=range(5))
def case(request: pytest.FixtureRequest) -> Case:
    return awkward(request.param)


@pytest.fixture
def plain() -> Case:
    """No ties, no empty or full row, every class present and predicted, all known."""
    g = np.random.default_rng(7)
    n, labels = 60, 5
    scores = g.permutation(n * labels).reshape(n, labels) / (n * labels)
    target = (g.random((n, labels)) < 0.4).astype(np.int64)
    target[target.sum(1) == 0, 1] = 1
    target[target.sum(1) == labels, 3] = 0
    return Case(scores, target, np.ones((n, labels), dtype=bool), scores >= 0.5)
