"""The criteria of decided sets against plain loops, scikit-learn and numbers worked by hand."""

from typing import Any

import numpy as np
import pytest
from awkward import Case
from sklearn import metrics

from retdm.criteria import counts


def plain_f1(truth: list[int], chosen: list[int]) -> tuple[float, float, float] | None:
    """Precision, recall, F1 of two lists of 0 and 1 by loops; None where nothing is relevant."""
    tp = fp = fn = 0
    for y, z in zip(truth, chosen, strict=True):
        tp += y == 1 and z == 1
        fp += y == 0 and z == 1
        fn += y == 1 and z == 0
    if tp + fn == 0:
        return None
    p = tp / (tp + fp) if tp + fp else 0.0
    r = tp / (tp + fn)
    return p, r, 2 * p * r / (p + r) if p + r else 0.0


def reference(case: Case) -> dict[str, float]:
    n, labels = case.target.shape
    cells = [[(i, j) for i in range(n) if case.known[i, j]] for j in range(labels)]
    rows = [[(i, j) for j in range(labels) if case.known[i, j]] for i in range(n)]

    def of(places: list[tuple[int, int]]) -> tuple[float, float, float] | None:
        return plain_f1([int(case.target[i, j]) for i, j in places], [int(case.predicted[i, j]) for i, j in places])

    by_label = [x for x in map(of, cells) if x is not None]
    by_row = [x for x in map(of, rows) if x is not None]
    everything = [place for column in cells for place in column]
    overall = of(everything)
    assert overall is not None
    p, r, f = (sum(x[k] for x in by_label) / len(by_label) for k in range(3))
    return {
        "C-P": p,
        "C-R": r,
        "C-F1": f,
        "C-F1_of_means": 2 * p * r / (p + r),
        "O-P": overall[0],
        "O-R": overall[1],
        "O-F1": overall[2],
        "example_F1": sum(x[2] for x in by_row) / len(by_row),
        "hamming_loss": sum(int(case.target[c]) != int(case.predicted[c]) for c in everything) / len(everything),
    }


def ours(predicted: np.ndarray, target: np.ndarray, known: np.ndarray) -> dict[str, Any]:
    c = counts.count(predicted, target, known)
    return {
        "C-P": counts.c_precision(c),
        "C-R": counts.c_recall(c),
        "C-F1": counts.c_f1(c),
        "C-F1_of_means": counts.c_f1_of_means(c),
        "O-P": counts.o_precision(c),
        "O-R": counts.o_recall(c),
        "O-F1": counts.o_f1(c),
        "example_F1": counts.example_f1(c),
        "hamming_loss": counts.hamming_loss(c),
    }


def test_equal_the_definitions_in_plain_loops(case: Case) -> None:
    assert ours(case.predicted, case.target, case.known) == pytest.approx(reference(case), abs=1e-12)


def test_equal_scikit_learn_where_every_class_and_row_has_a_label(plain: Case) -> None:
    found = ours(plain.predicted, plain.target, plain.known)
    for key, average in (("C", "macro"), ("O", "micro")):
        p, r, f, _ = metrics.precision_recall_fscore_support(plain.target, plain.predicted, average=average)
        assert (found[f"{key}-P"], found[f"{key}-R"], found[f"{key}-F1"]) == pytest.approx((p, r, f), abs=1e-12)
    assert found["example_F1"] == pytest.approx(
        metrics.f1_score(plain.target, plain.predicted, average="samples", zero_division=0), abs=1e-12
    )
    assert found["hamming_loss"] == pytest.approx(metrics.hamming_loss(plain.target, plain.predicted), abs=1e-12)


def test_worked_example() -> None:
    # Labels: A 2 positives, 1 hit, 1 false; B 1 positive, hit; C 1 positive, never predicted; D absent, predicted once.
    target = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])
    predicted = np.array([[1, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]])
    assert ours(predicted, target, np.ones((3, 4))) == pytest.approx(
        {
            "C-P": (1 / 2 + 1 + 0) / 3,
            "C-R": (1 / 2 + 1 + 0) / 3,
            "C-F1": (1 / 2 + 1 + 0) / 3,
            "C-F1_of_means": 1 / 2,
            "O-P": 2 / 4,
            "O-R": 2 / 4,
            "O-F1": 2 / 4,
            "example_F1": (1 + 0) / 2,  # the third image has no label
            "hamming_loss": 4 / 12,
        },
        abs=1e-12,
    )


def test_the_two_readings_of_c_f1_differ_and_the_mean_of_f1_is_never_the_greater(case: Case) -> None:
    found = ours(case.predicted, case.target, case.known)
    assert found["C-F1"] < found["C-F1_of_means"]


def test_a_label_with_positives_that_is_never_predicted_has_precision_zero() -> None:
    c = counts.count(np.zeros((2, 1)), np.ones((2, 1)), np.ones((2, 1)))
    assert (counts.c_precision(c), counts.c_f1(c), counts.c_f1_of_means(c), counts.o_precision(c)) == (0, 0, 0, 0)


def test_an_absent_class_changes_no_mean_over_labels(plain: Case) -> None:
    before = ours(plain.predicted, plain.target, plain.known)
    column = np.zeros((len(plain.target), 1), dtype=np.int64)
    after = ours(
        np.hstack([plain.predicted, column == 0]),  # predicted everywhere, all of it wrong
        np.hstack([plain.target, column]),
        np.hstack([plain.known, column == 0]),
    )
    for name in ("C-P", "C-R", "C-F1", "C-F1_of_means", "O-R"):
        assert after[name] == before[name]
    assert after["O-P"] < before["O-P"] and after["example_F1"] < before["example_F1"]


def test_unknown_cells_count_nowhere_whatever_stands_in_them(case: Case) -> None:
    other_target, other_predicted = case.target.astype(float), case.predicted.copy()
    other_target[~case.known] = np.nan
    other_predicted[~case.known] ^= True
    assert ours(other_predicted, other_target, case.known) == ours(case.predicted, case.target, case.known)


def test_nothing_relevant_leaves_only_the_hamming_loss_defined() -> None:
    found = ours(np.array([[1, 0]]), np.zeros((1, 2)), np.ones((1, 2)))
    assert found.pop("hamming_loss") == 0.5
    assert set(found.values()) == {None}


def test_nothing_known_leaves_nothing_defined() -> None:
    assert set(ours(np.ones((2, 2)), np.ones((2, 2)), np.zeros((2, 2))).values()) == {None}


def test_values_other_than_zero_and_one_are_refused() -> None:
    with pytest.raises(ValueError, match="predicted must hold only 0 and 1"):
        counts.count(np.array([[0.3]]), np.ones((1, 1)), np.ones((1, 1)))
    with pytest.raises(ValueError, match="target must hold only 0 and 1"):
        counts.count(np.ones((1, 1)), np.array([[-1]]), np.ones((1, 1)))
    with pytest.raises(ValueError, match="known has shape"):
        counts.count(np.ones((1, 1)), np.ones((1, 1)), np.ones(1))
