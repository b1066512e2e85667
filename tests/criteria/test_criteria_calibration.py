"""Calibration error, Brier score and log loss against scikit-learn and plain loops."""

import math

import numpy as np
import pytest
from awkward import Case
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from retdm.criteria import calibration
from retdm.criteria.calibration import BINS


def binned(scores: list[float], labels: list[int], bins: int = BINS) -> list[tuple[float, float]]:
    """(Σ scores, Σ labels) of each bin: images in order of score are poured into bins of equal size, one by one."""
    room = len(scores) / bins
    found = [[0.0, 0.0, room] for _ in range(bins)]
    at = 0
    for score in sorted(set(scores)):
        same = [label for each, label in zip(scores, labels, strict=True) if each == score]
        left, positive = float(len(same)), sum(same) / len(same)
        while left > 1e-9 and at < bins:
            part = min(left, found[at][2])
            found[at] = [found[at][0] + part * score, found[at][1] + part * positive, found[at][2] - part]
            left -= part
            at += found[at][2] < 1e-9
    return [(a, b) for a, b, _ in found]


def in_loops(case: Case) -> float:
    errors = []
    for scores, target, known in zip(case.scores.T, case.target.T, case.known.T, strict=True):
        rows = np.flatnonzero(known)
        pairs = binned(scores[rows].tolist(), target[rows].tolist())
        errors.append(sum(abs(a - b) for a, b in pairs) / len(rows))
    return sum(errors) / len(errors)


def test_calibration_error_equals_the_definition_in_plain_loops(case: Case) -> None:
    assert calibration.calibration_error(*case[:3]) == pytest.approx(in_loops(case), abs=1e-9)


def test_calibration_error_and_reliability_equal_scikit_learn_where_bins_are_whole(plain: Case) -> None:
    errors = []
    for scores, target in zip(plain.scores.T, plain.target.T, strict=True):
        share, mean_score = calibration_curve(target, scores, n_bins=BINS, strategy="quantile")
        errors.append(np.abs(share - mean_score).mean())
    assert calibration.calibration_error(*plain[:3]) == pytest.approx(np.mean(errors))
    share, mean_score = calibration_curve(plain.target.ravel(), plain.scores.ravel(), n_bins=BINS, strategy="quantile")
    found = calibration.reliability(*plain[:3])
    assert found is not None
    assert found.score == pytest.approx(mean_score) and found.share == pytest.approx(share)


def test_brier_score_and_log_loss_equal_scikit_learn_over_known_cells(case: Case) -> None:
    inside = np.clip(case.scores, 1e-7, 1 - 1e-7)
    columns = [
        (target[known], scores[known])
        for scores, target, known in zip(inside.T, case.target.T, case.known.T, strict=True)
    ]
    brier = np.mean([brier_score_loss(*column) for column in columns])
    surprise = np.mean([log_loss(*column, labels=[0, 1]) for column in columns])
    assert calibration.brier_score(*case[:3]) == pytest.approx(brier, abs=1e-6)
    assert calibration.log_loss(*case[:3]) == pytest.approx(surprise)


def test_worked_example() -> None:
    scores, target = np.array([[0.4], [0.5], [0.7], [0.9]]), np.array([[1], [1], [0], [1]])
    known = np.ones((4, 1), bool)
    # Ten bins of .4 images; each image is .6, .5 under, .7 over, .1 under its label.
    bins = [0.24, 0.24, 0.2 * 0.6 + 0.2 * 0.5, 0.2, 0.2, 0.28, 0.28, 0.2 * 0.7 - 0.2 * 0.1, 0.04, 0.04]
    assert calibration.calibration_error(scores, target, known) == pytest.approx(sum(bins) / 4)
    assert calibration.brier_score(scores, target, known) == pytest.approx((0.36 + 0.25 + 0.49 + 0.01) / 4)
    expected = -(math.log(0.4) + math.log(0.5) + math.log(0.3) + math.log(0.9)) / 4
    assert calibration.log_loss(scores, target, known) == pytest.approx(expected)


def test_probabilities_that_labels_were_drawn_by_have_the_error_of_chance_alone() -> None:
    g = np.random.default_rng(0)
    scores = np.full((4000, 8), 0.3) + 1e-6 * g.random((4000, 8))
    target, known = (g.random(scores.shape) < scores).astype(int), np.ones(scores.shape, bool)
    chance = math.sqrt(2 * 0.3 * 0.7 * BINS / (math.pi * len(scores)))  # as the docstring says
    assert calibration.calibration_error(scores, target, known) == pytest.approx(chance, rel=0.2)
    assert calibration.calibration_error(scores**2, target, known) == pytest.approx(0.3 - 0.09, abs=0.01)


def test_what_stands_in_unknown_cells_is_never_read_and_a_label_without_known_image_is_in_no_mean(case: Case) -> None:
    other = np.where(case.known, case.target, 1 - case.target)
    known = case.known.copy()
    known[:, 1] = False
    kept = [0, 2, 3, 4, 5]
    for name in ("calibration_error", "brier_score", "log_loss"):
        criterion = getattr(calibration, name)
        assert criterion(case.scores, other, case.known) == criterion(*case[:3])
        expected = criterion(case.scores[:, kept], case.target[:, kept], case.known[:, kept])
        assert criterion(case.scores, case.target, known) == pytest.approx(expected)
        assert criterion(case.scores, case.target, np.zeros_like(known)) is None
    assert calibration.reliability(case.scores, case.target, np.zeros_like(known)) is None
