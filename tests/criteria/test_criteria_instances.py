from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from retdm.criteria import INSTANCE_CRITERIA, evaluate_instances


def loops(scores: list[np.ndarray], truth: list[np.ndarray], known: list[np.ndarray]) -> list[Any]:
    """The definitions, one bag, label and instance after the other."""
    pointed: list[bool] = []
    overlap: list[float] = []
    columns: dict[int, list[tuple[float, bool]]] = {}
    for score, true, is_known in zip(scores, truth, known, strict=True):
        places = [p for p in range(len(score)) if is_known[p]]
        for label in range(score.shape[1]):
            columns.setdefault(label, []).extend((score[p, label], true[p, label]) for p in places)
            positive = {p for p in places if true[p, label]}
            if not positive:
                continue
            best = max(places, key=lambda p: (score[p, label], -p))
            pointed.append(best in positive)
            chosen = {p for p in places if score[p, label] >= score[best, label] / 2}
            overlap.append(len(chosen & positive) / len(chosen | positive))
    precision = [
        average_precision_score([true for _, true in column], [score for score, _ in column])
        for column in columns.values()
        if any(true for _, true in column)
    ]
    return [np.mean(precision), np.mean(pointed), np.mean(overlap)]


def test_each_criterion_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    sizes = [1, 4, 9, 2]
    scores = [rng.random((size, 3)).round(1) for size in sizes]  # with ties
    truth = [rng.random((size, 3)) < 0.3 for size in sizes]
    known = [rng.random(size) < 0.8 for size in sizes]
    truth[1][2, 0] = known[1][2] = True
    found = evaluate_instances(scores, truth, known)
    assert list(found) == list(INSTANCE_CRITERIA)
    assert list(found.values()) == pytest.approx(loops(scores, truth, known))


def test_perfect_scores_are_ones_and_unknown_instances_count_nowhere() -> None:
    truth = [np.array([[True, False], [False, True], [False, False]])]
    known = [np.array([True, True, False])]
    scores = [np.array([[0.9, 0.1], [0.1, 0.8], [1.0, 1.0]])]
    assert set(evaluate_instances(scores, truth, known).values()) == {1.0}
    assert evaluate_instances(scores, truth, [np.ones(3, bool)])["pointing_accuracy"] == 0


def test_nothing_to_find_is_undefined() -> None:
    empty = [np.zeros((3, 2), bool)]
    assert set(evaluate_instances([np.ones((3, 2))], empty, [np.ones(3, bool)]).values()) == {None}
