"""The ranking criteria against plain loops, scikit-learn and the known disagreements between libraries."""

from typing import Any

import numpy as np
import pytest
from awkward import Case
from numpy.typing import ArrayLike
from sklearn import metrics

from retdm.criteria.ranking import coverage, coverage_normalised, one_error, ranking_loss, ranks
from retdm.criteria.ranking_average_precision import average_precision

CRITERIA = (average_precision, coverage, coverage_normalised, one_error, ranking_loss)


def reference(scores: np.ndarray, target: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """The definitions as loops over floats."""
    aps, losses, errors, depths = [], [], [], []
    for row_scores, row_target, row_known in zip(scores, target, known, strict=True):
        labels = [(float(s), int(t)) for s, t, k in zip(row_scores, row_target, row_known, strict=True) if k]
        yes = [s for s, t in labels if t == 1]
        no = [s for s, t in labels if t == 0]
        if not yes:
            continue
        depths.append(max(sum(other >= s for other, _ in labels) for s in yes) - 1)
        if not no:
            continue
        aps.append(
            sum(sum(other >= s for other in yes) / sum(other >= s for other, _ in labels) for s in yes) / len(yes)
        )
        losses.append(sum(q >= p for p in yes for q in no) / (len(yes) * len(no)))
        errors.append(float(max(no) >= max(yes)))
    depth = sum(depths) / len(depths)
    return {
        "average_precision": sum(aps) / len(aps),
        "coverage": depth,
        "coverage_normalised": depth / scores.shape[1],
        "one_error": sum(errors) / len(errors),
        "ranking_loss": sum(losses) / len(losses),
    }


def ours(scores: ArrayLike, target: ArrayLike, known: ArrayLike | None = None) -> dict[str, Any]:
    scores = np.asarray(scores, dtype=float)
    r = ranks(scores, target, np.ones(scores.shape, dtype=bool) if known is None else known)
    return {criterion.__name__: criterion(r) for criterion in CRITERIA}


def test_equal_the_definitions_in_plain_loops(case: Case) -> None:
    found = ours(case.scores, case.target, case.known)
    assert found == pytest.approx(reference(case.scores, case.target, case.known), abs=1e-12)


def test_equal_scikit_learn_without_ties_and_empty_or_full_rows(plain: Case) -> None:
    found = ours(plain.scores, plain.target)
    assert found["average_precision"] == pytest.approx(
        metrics.label_ranking_average_precision_score(plain.target, plain.scores), abs=1e-12
    )
    assert found["ranking_loss"] == pytest.approx(metrics.label_ranking_loss(plain.target, plain.scores), abs=1e-12)
    assert found["coverage"] == pytest.approx(metrics.coverage_error(plain.target, plain.scores) - 1, abs=1e-12)
    assert found["coverage_normalised"] == found["coverage"] / 5


PLAIN_ROW = ([0.1, 0.5, 0.2, 0.9], [1, 0, 0, 1])


@pytest.mark.parametrize(
    ("scores", "target", "ap", "depth", "loss", "error"),
    [
        pytest.param([PLAIN_ROW[0]], [PLAIN_ROW[1]], 0.75, 3, 0.5, 0, id="plain row"),
        pytest.param([[0.4] * 4], [[1, 0, 0, 1]], 0.5, 3, 1, 1, id="all tied"),
        pytest.param([[0.9, 0.9, 0.2, 0.1]], [[1, 0, 0, 0]], 0.5, 1, 1 / 3, 1, id="tie for the top, truth first"),
        pytest.param([[0.9, 0.9, 0.2, 0.1]], [[0, 1, 0, 0]], 0.5, 1, 1 / 3, 1, id="tie for the top, truth second"),
        pytest.param([[0.9, 0.9, 0.2, 0.1]], [[1, 1, 0, 0]], 1, 1, 0, 0, id="tie for the top, both true"),
        pytest.param([PLAIN_ROW[0], PLAIN_ROW[0]], [PLAIN_ROW[1], [0] * 4], 0.75, 3, 0.5, 0, id="with an empty row"),
        pytest.param([PLAIN_ROW[0], PLAIN_ROW[0]], [PLAIN_ROW[1], [1] * 4], 0.75, 3, 0.5, 0, id="with a full row"),
    ],
)
def test_ties_count_against_us_and_empty_and_full_rows_are_left_out(
    scores: ArrayLike, target: ArrayLike, ap: float, depth: float, loss: float, error: float
) -> None:
    assert ours(scores, target) == pytest.approx(
        {
            "average_precision": ap,
            "coverage": depth,
            "coverage_normalised": depth / 4,
            "one_error": error,
            "ranking_loss": loss,
        },
        abs=1e-12,
    )


def test_a_full_row_counts_in_coverage_alone() -> None:
    found = ours([[0.1, 0.2, 0.3]], [[1, 1, 1]])
    assert (found.pop("coverage"), found.pop("coverage_normalised")) == (2, 2 / 3)
    assert set(found.values()) == {None}


def test_an_empty_row_counts_nowhere() -> None:
    assert set(ours([[0.1, 0.2, 0.3]], [[0, 0, 0]]).values()) == {None}


def test_no_rows_leave_everything_undefined() -> None:
    assert set(ours(np.zeros((0, 3)), np.zeros((0, 3))).values()) == {None}


def test_the_unknown_labels_of_a_row_are_as_if_it_lacked_them() -> None:
    # Label 2 is on top and irrelevant, label 4 last and relevant: both unknown.
    found = ours([[0.5, 0.4, 0.9, 0.3, 0.1]], [[1, 0, 0, 1, 1]], [[True, True, False, True, False]])
    without = ours([[0.5, 0.4, 0.3]], [[1, 0, 1]])
    assert found.pop("coverage_normalised") == 2 / 5  # of all labels
    assert without.pop("coverage_normalised") == 2 / 3
    assert found == without


def test_a_row_known_only_where_relevant_is_full() -> None:
    assert ours([[0.5, 0.9]], [[1, 0]], [[True, False]])["one_error"] is None


def test_unknown_cells_may_hold_anything(case: Case) -> None:
    target = case.target.astype(float)
    target[~case.known] = -1
    scores = np.where(case.known, case.scores, 1.0)
    assert ours(scores, target, case.known) == ours(case.scores, case.target, case.known)


def test_scores_that_differ_by_little_are_no_tie() -> None:
    assert ours([[np.nextafter(0.5, 1), 0.5]], [[1, 0]])["ranking_loss"] == 0


def test_logits_are_refused_with_the_range_they_span() -> None:
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\].*\[-1, 30\]"):
        ours([[30, 25, -1, 2]], [[0, 1, 0, 0]])


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN in 1 of 2 cells"):
        ours([[np.nan, 0.5]], [[0, 1]])
