"""Tuning: it takes what a plain loop over the folds takes, is off unless asked for, and survives a checkpoint."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from fitted_toys import CASES, fitted, made, scored, toy_for

from retdm.errors import UserError
from retdm.methods.on_bags.dba import DBA
from retdm.methods.on_bags.mi_svm import MiSVM
from retdm.methods.on_bags.mimlfast import MIMLfast
from retdm.methods.tuning import log_loss, lowest_loss, trials_of, wrong_cells, wrong_pairs

# Candidates of which the first is the worst, so that a method which tunes nothing is found out.
TUNED: dict[str, Any] = {
    "logistic": {"C": [1e-3, 1.0, 1e-2]},
    "ml_knn": {"k": [38, 1, 7]},
    "lmmo_knn": {"ridge": [1e-3, 30.0, 1e4]},
    "mlspl": {"penalty": [1e-4, 3.0, 1e3]},
    "kisar": {"C": [1e-3, 1.0, 50.0]},
    "mi_svm": {"C": [1e-3, 1e-2, 3.0]},
    "mi_svm_witness": {"C": [1e-3, 1e-2, 3.0]},
    "mimlfast": [{"D": [2], "C": [3.0], "K": [1], "epochs": [1]}, {"D": [6], "C": [3.0], "K": [2], "epochs": [2, 8]}],
    "bag_embedding": {"C": [1e-3, 0.1, 10.0]},
    "bag_of_words": {"C": [1e-6, 1e-3, 30.0]},
    "ranklsim": {"penalty": [1e3, 1e-2]},
    "mimlsvm": [{"gamma": [1e3, 1e-6], "C": [1e-6]}, {"gamma": [0.02], "C": [10.0]}],
    "mimlknn": [{"references": [39], "citers": [39]}, {"references": [1, 3], "citers": [30, 3]}],
    "emd_svm": {"C": [1e-6, 1e-5, 10.0]},
}
# Distances are scaled once for all folds: without a scale each fold's own are the same.
UNSCALED = {"mimlsvm": {"scale": "none"}, "mimlknn": {"scale": "none"}}


def loss_of(name: str, method: Any, scores: np.ndarray, target: np.ndarray) -> float:
    """By plain loops: log-loss, errors at the method's thresholds, or wrongly ordered pairs."""
    rows = list(zip(scores.tolist(), target.tolist(), strict=True))
    if name == "mimlfast":
        total = 0.0
        for row, truth in rows:
            pairs = [(p, q) for p, q in product(range(3), repeat=2) if truth[p] and not truth[q]]
            total += sum(row[p] <= row[q] for p, q in pairs) / max(1, len(pairs))
        return total
    if name in ("logistic", "ml_knn", "lmmo_knn", "mlspl"):
        least = 0.0 if name == "logistic" else 1e-3
        right = [p if y else 1 - p for row, truth in rows for p, y in zip(row, truth, strict=True)]
        return -sum(np.log(min(max(p, least), 1 - least)) for p in right)
    thresholds = getattr(method, "thresholds", [0.5] * 3)
    return sum((p >= t) != y for row, truth in rows for p, t, y in zip(row, thresholds, truth, strict=True))


@pytest.mark.parametrize("name", TUNED)
def test_tuning_takes_what_a_plain_loop_over_the_folds_takes_and_a_checkpoint_brings_it_back(name: str) -> None:
    given, losses, seed, more = toy_for(name, 40), [], 3, UNSCALED.get(name, {})
    fold = np.random.default_rng(seed).permutation(40) % 5
    trials = trials_of(CASES[name][0], TUNED[name], {})
    for trial in trials:
        losses.append(0.0)
        for held in range(5):
            rest = given.take(fold == held)
            model = fitted(name, given.take(fold != held), seed=seed, **more, **trial)
            losses[-1] += loss_of(name, model, scored(model, rest.examples), rest.target)
    best = int(np.argmin(losses))
    assert best > 0 and losses[best] < losses[0]
    method = fitted(name, given, tune=TUNED[name], seed=seed, **more)
    assert method.chosen == best and trials[best].items() <= method.details().items()
    scores = scored(method, given.examples)
    assert np.array_equal(scores, scored(fitted(name, given, seed=seed, **more, **trials[best]), given.examples))
    fresh = made(name, tune=TUNED[name], seed=seed, **more)
    fresh.load_state_dict(method.state_dict())
    assert np.array_equal(scored(fresh, given.examples), scores)
    assert {key: getattr(fresh, key) for key in method.tuned} == {key: method.details()[key] for key in method.tuned}


@pytest.mark.parametrize("name", TUNED)
def test_nothing_is_tuned_unless_it_is_asked_for_and_true_tries_the_methods_own_candidates(name: str) -> None:
    method = made(name)
    before = {key: getattr(method, key) for key in method.tuned}
    method.fit(*toy_for(name, 30))
    assert before and {key: getattr(method, key) for key in method.tuned} == before and method.chosen == -1
    own = [method.candidates] if isinstance(method.candidates, dict) else method.candidates
    assert made(name, tune=True).trials == trials_of(type(method), own, {})
    assert set(made(name, tune=True).trials[0]) == set(before)


def test_all_combinations_are_tried_in_the_order_of_the_mappings() -> None:
    given = [{"D": [5, 6], "C": [1, 2.5]}, {"C": [3.0], "D": [7]}]
    assert trials_of(MIMLfast, given, {}) == [
        {"D": 5, "C": 1},
        {"D": 5, "C": 2.5},
        {"D": 6, "C": 1},
        {"D": 6, "C": 2.5},
        {"C": 3.0, "D": 7},
    ]
    assert trials_of(MIMLfast, False, {"C": [1.0]}) == []
    assert [trial["D"] for trial in trials_of(MIMLfast, True, MIMLfast.candidates)] == [100] * 6 + [200] * 7


@pytest.mark.parametrize(
    "tune, message",
    [
        ({}, "names no candidates"),
        ({"C": []}, "names no candidates"),
        ([{"C": [1.0]}, {"gamma": [1.0]}], "not the same settings"),
        ({"c": [1.0]}, "names c, which is no number among the settings of MiSVM"),
        ({"kernel": ["rbf"]}, "names kernel"),
        ({"C": [1.0, 0.0]}, "C=0.0 is not above 0"),
        ({"C": ["1"]}, "C=1 is no number"),
        ({"rounds": [2.5]}, "rounds=2.5 is no whole number"),
        ({"gamma": [True]}, "gamma=True is no number"),
    ],
)
def test_candidates_that_cannot_be_are_named(tune: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        trials_of(MiSVM, tune, {})


def test_a_method_without_candidates_asks_for_some() -> None:
    with pytest.raises(UserError, match="DBA has no candidates of its own"):
        trials_of(DBA, True, DBA.candidates)
    assert trials_of(DBA, {"penalty": [0.1, 1.0]}, {}) == [{"penalty": 0.1}, {"penalty": 1.0}]


def test_every_row_is_scored_once_by_what_the_others_taught_and_a_tie_goes_to_the_earlier() -> None:
    scored_rows: dict[str, list[int]] = {"x": [], "y": [], "z": []}

    def loss(value: str, fitted: np.ndarray, held: np.ndarray) -> float:
        assert np.array_equal(fitted, ~held)
        scored_rows[value] += np.flatnonzero(held).tolist()
        return {"x": 2.0, "y": 1.0, "z": 1.0}[value]

    assert lowest_loss(["x", "y", "z"], loss, 13, 0) == "y"
    assert all(sorted(rows) == list(range(13)) for rows in scored_rows.values())


def test_log_losses_are_of_known_cells_and_of_scores_no_surer_than_one_in_a_thousand() -> None:
    target = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]])
    known = np.array([[True, True, False], [True, False, False], [False, True, False]])
    scores = np.array([[0.9, 0.0, 0.5], [0.8, 0.3, 0.2], [0.7, 0.6, 1.0]])
    assert log_loss(scores, target, known) == pytest.approx(-np.log([0.9, 0.999, 0.8, 0.6]).sum())


def test_wrong_pairs_leave_out_unknown_cells_and_count_ties() -> None:
    scores = np.array([[0.9, 0.5, 0.5, 0.1], [0.2, 0.8, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]])
    target = np.array([[0, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]])
    known = np.ones((3, 4), bool)
    assert wrong_pairs(scores, target, known) == pytest.approx(2 / 3 + 4 / 4)  # the last row has no negative label
    known[0, 0] = known[1, 1] = False
    assert wrong_pairs(scores, target, known) == pytest.approx(1 / 2 + 2 / 2)


def test_wrong_cells_are_known_ones_on_the_wrong_side_of_their_labels_threshold() -> None:
    scores, target = np.array([[0.3, 0.3, 0.8], [0.1, 0.5, 0.95]]), np.array([[0, 0, 0], [0, 0, 1]])
    thresholds = np.array([0.2, 0.5, 0.9])
    assert wrong_cells(scores, target, np.ones((2, 3), bool), thresholds) == 2
    assert wrong_cells(scores, target, np.array([[0, 1, 1], [1, 1, 1]], bool), thresholds) == 1
    assert wrong_cells(scores, target, np.ones((2, 3), bool)) == 2
