"""Calibrations against scikit-learn's own calibrator, another solver, and probabilities that are known."""

import json
from typing import Any, get_type_hints

import numpy as np
import pytest
from awkward import Case
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from retdm.criteria.calibration import calibration_error, log_loss
from retdm.decisions.calibration import KINDS, NONE, calibrated, check_calibration, fit_calibration, in_words
from retdm.decisions.thresholds import FEW_POSITIVES, log_odds
from retdm.errors import UserError


class Scores(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn bears no types
    """A classifier whose decision function is what it is given."""

    def fit(self, features: Any, labels: Any) -> "Scores":
        self.classes_, self.fitted_ = np.array([0, 1]), True
        return self

    def decision_function(self, features: Any) -> Any:
        return features[:, 0]

    def predict(self, features: Any) -> Any:
        return (features[:, 0] > 0).astype(int)


def scikit_learns(method: str, scores: np.ndarray, target: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Probabilities of ``given`` scores by scikit-learn's calibrator of a classifier, fitted to ``scores``."""
    frozen = FrozenEstimator(Scores().fit(scores[:, None], target))
    model = CalibratedClassifierCV(frozen, method=method, ensemble=False).fit(scores[:, None], target)
    return np.asarray(model.predict_proba(given[:, None])[:, 1])


def drawn(n: int, seed: int, steepness: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores that are too sure by ``steepness``, labels drawn by their true probabilities, and which are known."""
    g = np.random.default_rng(seed)
    logits = g.normal(size=(n, 4)) - np.array([0, 0.5, 1, 2])
    target = (g.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
    return 1 / (1 + np.exp(-steepness * logits)), target, g.random(logits.shape) < 0.9


def test_a_line_is_that_of_scikit_learns_calibrator_on_the_log_odds() -> None:
    scores, target, known = (column[:, :1] for column in drawn(400, 0))
    given = known[:, 0]
    how = fit_calibration("platt", scores, target, known)  # of one label the pooled line is its own
    expected = scikit_learns("sigmoid", log_odds(scores[given, 0]), target[given, 0], log_odds(scores[:, 0]))
    assert calibrated(how, scores)[:, 0] == pytest.approx(expected, abs=1e-4)


def test_steps_are_those_of_scikit_learns_calibrator_but_never_certain() -> None:
    scores, target, known = (column[:, :1] for column in drawn(400, 1))
    given = known[:, 0]
    found = calibrated(fit_calibration("isotonic", scores, target, known), scores)[:, 0]
    expected = scikit_learns("isotonic", scores[given, 0], target[given, 0], scores[:, 0])
    count = target[given, 0].sum()
    low, high = 1 / (given.sum() - count + 2), (count + 1) / (count + 2)
    assert 0 < low < high < 1 and found == pytest.approx(np.clip(expected, low, high), abs=1e-9)


def test_the_temperature_has_the_least_log_loss_of_platts_targets() -> None:
    scores, target, known = drawn(500, 2)
    logits, positive = log_odds(scores[known]), target[known] > 0
    aims = np.where(positive, (positive.sum() + 1) / (positive.sum() + 2), 1 / ((~positive).sum() + 2))

    def loss(temperature: float) -> float:
        of = logits / temperature
        return float(np.mean(aims * np.logaddexp(0, -of) + (1 - aims) * np.logaddexp(0, of)))

    best = minimize_scalar(loss, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-8}).x
    how = fit_calibration("temperature", scores, target, known)
    assert 1 / np.array(how["slope"]) == pytest.approx(best, rel=1e-4) and best == pytest.approx(2, rel=0.15)
    assert how["intercept"] == 0 and in_words(how, list("abcd")) == f"temperature {best:.3g}"


@pytest.mark.parametrize("kind", KINDS)
def test_other_images_are_told_better_probabilities(kind: Any) -> None:
    how = fit_calibration(kind, *drawn(600, 3))
    scores, target, known = drawn(4000, 4)
    better = calibrated(how, scores)
    for criterion in (calibration_error, log_loss):
        before, after = criterion(scores, target, known), criterion(better, target, known)
        assert before is not None and after is not None and after < before
    assert better.dtype == scores.dtype and calibrated(how, scores.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
def test_scores_keep_their_order_in_each_label_and_files_can_hold_what_is_fitted(kind: Any, case: Case) -> None:
    how = fit_calibration(kind, *case[:3])
    found = calibrated(how, case.scores)
    assert found.min() >= 0 and found.max() <= 1
    for before, after in zip(case.scores.T, found.T, strict=True):
        assert (np.diff(after[np.argsort(before, kind="stable")]) >= 0).all()
    again = check_calibration(json.loads(json.dumps(how)), 6)
    assert np.array_equal(calibrated(again, case.scores), found)
    other = np.where(case.known, case.scores, 0.9), np.where(case.known, case.target, 1), case.known
    assert fit_calibration(kind, *other) == how, "what stands in unknown cells is never read"


def test_a_label_of_few_positives_leans_on_all_labels_together_by_its_share() -> None:
    scores, target, known = drawn(300, 5)
    target[np.flatnonzero(target[:, 3])[5:], 3] = 0
    target[:, 2] = 0
    how = fit_calibration("platt", scores, target, known)
    positives = int((target[:, 3] * known[:, 3]).sum())
    assert 0 < positives < FEW_POSITIVES and how["few"] == [2, 3]
    assert in_words(how, list("abcd")).endswith("mostly as all labels together: c, d")
    cells = scores[known][:, None], target[known][:, None], np.ones((int(known.sum()), 1), bool)
    pooled = fit_calibration("platt", *cells)
    own = fit_calibration("platt", scores[:, 3:], target[:, 3:], known[:, 3:])
    share = positives / (positives + FEW_POSITIVES)
    for key in ("slope", "intercept"):
        together, alone, mixed = (np.ravel(each[key]) for each in (pooled, own, how))
        assert mixed[2] == pytest.approx(together[0], abs=1e-4)
        assert mixed[3] == pytest.approx(share * alone[0] + (1 - share) * together[0], abs=1e-3)
    steps = fit_calibration("isotonic", scores, target, known)
    assert steps["few"] == [2, 3] and steps["share"][2:] == [0, pytest.approx(share)]
    alone, together = (np.interp(scores[:, 3], knots[0], knots[1]) for knots in (steps["own"][3], steps["pooled"]))
    assert calibrated(steps, scores)[:, 3] == pytest.approx(share * alone + (1 - share) * together)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_learn_from_changes_nothing_and_says_so(kind: Any) -> None:
    scores, target, known = drawn(50, 6)
    for labels in (np.zeros_like(target), np.ones_like(target)):
        how = fit_calibration(kind, scores, labels, known)
        assert how["few"] == [0, 1, 2, 3] and calibrated(how, scores) == pytest.approx(scores, abs=1e-6)
    if kind != "isotonic":
        turned = fit_calibration(kind, 1 - scores, (scores > 0.5).astype(int), known)  # the order is upside down
        assert turned["few"] == [0, 1, 2, 3] and calibrated(turned, scores) == pytest.approx(scores, abs=1e-6)


def test_scores_that_part_all_images_do_not_become_certain() -> None:
    target = np.repeat([0, 1], 20)[:, None]
    scores = np.where(target == 1, 0.8, 0.1) + np.linspace(0, 0.1, 40)[:, None]
    for kind in KINDS:
        found = calibrated(fit_calibration(kind, scores, target, target >= 0), scores)
        assert 0.01 < found.min() < 0.2 and 0.8 < found.max() < 0.99, kind


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"kind": "plat", "few": []},
        {"kind": "platt", "few": [], "slope": [1.0], "intercept": [0.0]},
        {"kind": "platt", "few": [9], "slope": [1.0] * 3, "intercept": [0.0] * 3},
        {"kind": "temperature", "few": [], "slope": "much", "intercept": 0.0},
        {"kind": "isotonic", "few": [], "pooled": [[0, 1], [0, 7]], "own": [[[0], [0]]] * 3, "share": [0] * 3},
    ],
)
def test_what_a_file_says_is_checked(wrong: Any) -> None:
    with pytest.raises(UserError):
        check_calibration(wrong, 3)


def test_methods_name_the_kinds_as_they_are() -> None:
    from retdm.methods.base import Method

    assert get_type_hints(Method.__init__)["calibrate"].__args__ == (NONE, *KINDS)
