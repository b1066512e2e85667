"""Average precision of labels against scikit-learn, a plain loop and a number worked by hand."""

import numpy as np
import pytest
from awkward import Case
from sklearn import metrics

from retdm.criteria.mean_average_precision import label_average_precision, mean_average_precision


def by_thresholds(scores: list[float], truth: list[int]) -> float:
    """Sum over descending distinct scores of (gain in recall) × precision."""
    total, last_recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = [t for s, t in zip(scores, truth, strict=True) if s >= threshold]
        recall = sum(taken) / sum(truth)
        total += (recall - last_recall) * sum(taken) / len(taken)
        last_recall = recall
    return total


def test_equals_the_definition_over_the_known_cells_of_each_label(case: Case) -> None:
    found = label_average_precision(case.scores, case.target, case.known)
    for j in range(6):
        rows = [i for i in range(len(case.target)) if case.known[i, j]]
        truth = [int(case.target[i, j]) for i in rows]
        if sum(truth) == 0:
            assert j == 2 and np.isnan(found[j])
        else:
            scores = [float(case.scores[i, j]) for i in rows]
            assert found[j] == pytest.approx(by_thresholds(scores, truth), abs=1e-12)


def test_equals_scikit_learn_ties_included(case: Case, plain: Case) -> None:
    present = [0, 1, 3, 4, 5]
    known = np.ones(case.target.shape, dtype=bool)
    found = label_average_precision(case.scores, case.target, known)[present]
    expected = metrics.average_precision_score(case.target[:, present], case.scores[:, present], average=None)
    assert found == pytest.approx(expected, abs=1e-12)
    found = label_average_precision(plain.scores, plain.target, plain.known)
    assert mean_average_precision(found) == pytest.approx(
        metrics.average_precision_score(plain.target, plain.scores, average="macro"), abs=1e-12
    )


def test_worked_example() -> None:
    # Label 0: .9 yes, .8 no, .7 yes -> (1 + 2/3) / 2. Label 1: yes and no tied -> 1/2. Label 2: absent.
    scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.5, 0.2], [0.7, 0.1, 0.3]])
    target = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    found = label_average_precision(scores, target, np.ones((3, 3)))
    assert found[:2] == pytest.approx([5 / 6, 1 / 2]) and np.isnan(found[2])
    assert mean_average_precision(found) == pytest.approx(2 / 3)


def test_a_label_without_negatives_has_one_and_without_positives_none_has_a_mean() -> None:
    assert label_average_precision(np.array([[0.1], [0.2]]), np.ones((2, 1)), np.ones((2, 1))) == 1
    assert mean_average_precision(np.array([np.nan, np.nan])) is None
