"""Small random data with everything awkward in it: ties, empty and full rows, an absent class, unknown cells."""

from typing import NamedTuple

import numpy as np

from retdm.criteria import evaluate
from retdm.decisions import best_threshold, decide

NAMES = ["sky", "sea", "moon", "tree", "car", "dog"]


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


def expected(case: Case, rule: str = "half") -> dict[str, float]:
    """The values of the pure functions; an undefined one is NaN."""
    predicted = decide(case.scores, rule, best_threshold(*case[:3]))
    found = evaluate(*case[:3], NAMES, predicted)["criteria"]
    return {name: float("nan") if value is None else value for name, value in found.items()}
