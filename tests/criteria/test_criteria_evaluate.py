"""`evaluate`: names, what is left out, and what must change nothing."""

import json
from typing import Any

import numpy as np
import pytest
from awkward import Case

from retdm.criteria import CRITERIA, INSTANCE_CRITERIA, LARGER_IS_BETTER, evaluate

NAMES = ["sky", "sea", "moon", "tree", "car", "dog"]


def test_the_criteria_come_in_the_order_of_reports(case: Case) -> None:
    expected = (
        "C-P C-R C-F1 C-F1_of_means O-P O-R O-F1 example_F1 mAP "
        "hamming_loss ranking_loss coverage coverage_normalised one_error average_precision "
        "calibration_error brier_score log_loss"
    )
    assert " ".join(CRITERIA) == expected
    assert " ".join(evaluate(case.scores, case.target, case.known, NAMES, case.predicted)["criteria"]) == expected


def test_worked_example_all_of_it() -> None:
    target = [[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0]]
    scores = [[0.9, 0.6, 0.2, 0.1], [0.4, 0.3, 0.4, 0.8], [0.7, 0.1, 0.2, 0.3], [0.5, 0.4, 0.45, 0.95]]
    known = [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]]
    found = evaluate(scores, target, known, ["a", "b", "c", "d"], np.array(scores) >= 0.5)
    # Label a: hits in rows 0 and 3, missed in 1, false in 2. b: hit in 0, missed in 3. c: never predicted, two
    # positives. d: absent.
    assert found["per_label"] == {
        "a": {"P": 2 / 3, "R": 2 / 3, "F1": 2 / 3, "AP": pytest.approx((1 + 2 / 3 + 3 / 4) / 3), "positives": 3}
        | {"predicted": 3},
        "b": {"P": 1, "R": 1 / 2, "F1": pytest.approx(2 / 3), "AP": 1, "positives": 2, "predicted": 1},
        "c": {"P": 0, "R": 0, "F1": 0, "AP": 1, "positives": 2, "predicted": 0},
        "d": {"P": None, "R": None, "F1": None, "AP": None, "positives": 0, "predicted": 1},
    }
    assert found["left_out"] == {
        "rows_without_label": 1,
        "rows_with_all_labels": 1,
        "labels_without_positives": 1,
        "unknown_cells": 1,
    }
    p, r = (2 / 3 + 1 + 0) / 3, (2 / 3 + 1 / 2 + 0) / 3
    of_sets_and_ranks = {name: found["criteria"][name] for name in CRITERIA[:-3]}
    assert of_sets_and_ranks == pytest.approx(
        {
            "C-P": p,
            "C-R": r,
            "C-F1": (2 / 3 + 2 / 3 + 0) / 3,
            "C-F1_of_means": 2 * p * r / (p + r),
            "O-P": 3 / 5,
            "O-R": 3 / 7,
            "O-F1": 6 / 12,
            "example_F1": (1 + 0 + 1 / 2) / 3,  # rows 0, 1, 3
            "mAP": ((1 + 2 / 3 + 3 / 4) / 3 + 1 + 1) / 3,
            "hamming_loss": 6 / 15,
            "ranking_loss": (0 + 2 / 4) / 2,  # rows 0 and 1
            "coverage": (1 + 2 + 2) / 3,  # rows 0, 1, 3
            "coverage_normalised": 5 / 12,
            "one_error": 1 / 2,
            "average_precision": (1 + 2 / 3) / 2,
        },
        abs=1e-12,
    )


def test_perfect_scores_are_the_best_each_criterion_knows(plain: Case) -> None:
    found = evaluate(plain.target, plain.target, plain.known, list("abcde"), plain.target == 1)["criteria"]
    mean_size = float(plain.target.sum(1).mean())
    for name in CRITERIA:
        best = {"coverage": mean_size - 1, "coverage_normalised": (mean_size - 1) / 5, "log_loss": 1e-7}.get(name, 0)
        assert found[name] == pytest.approx(1 if name in LARGER_IS_BETTER else best), name


def test_reversed_scores_are_worse_in_the_direction_that_is_declared(plain: Case) -> None:
    good = np.where(plain.target == 1, 0.7, 0.3) + plain.scores / 10
    best = evaluate(good, plain.target, plain.known, list("abcde"), good >= 0.5)["criteria"]
    worst = evaluate(1 - good, plain.target, plain.known, list("abcde"), 1 - good >= 0.5)["criteria"]
    assert {*CRITERIA, *INSTANCE_CRITERIA} >= LARGER_IS_BETTER
    for name in CRITERIA:
        good_value, bad_value = best[name], worst[name]
        assert good_value is not None and bad_value is not None
        assert (good_value > bad_value) == (name in LARGER_IS_BETTER), name


def test_the_order_of_rows_and_labels_changes_nothing(case: Case) -> None:
    before = evaluate(case.scores, case.target, case.known, NAMES, case.predicted)
    g = np.random.default_rng(3)
    rows, columns = g.permutation(len(case.scores)), g.permutation(len(NAMES))
    scores, target, known, predicted = (cells[rows][:, columns] for cells in case)
    after = evaluate(scores, target, known, [NAMES[j] for j in columns], predicted)
    assert after["criteria"] == pytest.approx(before["criteria"], abs=1e-12)
    assert after["left_out"] == before["left_out"]
    for name in NAMES:
        assert after["per_label"][name] == pytest.approx(before["per_label"][name], abs=1e-12)


def test_float32_scores_give_what_their_float64_copies_give(plain: Case) -> None:
    single = plain.scores.astype(np.float32)
    args = (plain.target, plain.known, list("abcde"), plain.predicted)
    assert evaluate(single, *args) == evaluate(single.astype(np.float64), *args)


def test_undefined_values_are_null_in_json() -> None:
    found = evaluate(np.full((2, 2), 0.5), np.zeros((2, 2)), np.ones((2, 2)), ["a", "b"], np.zeros((2, 2)))
    text = json.dumps(found, allow_nan=False)
    again = json.loads(text)
    assert again["criteria"]["mAP"] is None and again["per_label"]["a"]["AP"] is None
    assert again["criteria"]["hamming_loss"] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scores": np.array([[2.0, 0.1]])}, r"probabilities in \[0, 1\], never logits; they lie in \[0.1, 2\]"),
        ({"scores": np.array([[np.nan, 0.1]])}, "NaN in 1 of 2"),
        ({"scores": np.array([0.2, 0.1])}, r"shape \(n, L\)"),
        ({"target": np.ones((2, 2))}, r"target has shape \(2, 2\)"),
        ({"predicted": np.ones((1, 3))}, r"predicted has shape \(1, 3\)"),
        ({"names": ["a"]}, "1 names for the 2 labels"),
        ({"names": ["a", "a"]}, "names repeat: .'a'."),
        ({"names": []}, "there are no labels"),
    ],
)
def test_bad_input_is_refused_in_words(change: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {
        "scores": np.array([[0.2, 0.1]]),
        "target": np.ones((1, 2)),
        "known": np.ones((1, 2), dtype=bool),
        "names": ["a", "b"],
        "predicted": np.ones((1, 2), dtype=bool),
    }
    evaluate(**good)
    with pytest.raises(ValueError, match=words):
        evaluate(**(good | change))
