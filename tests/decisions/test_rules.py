"""Decision rules, and the threshold chosen on validation against brute force."""

import numpy as np
import pytest
from awkward import Case
from sklearn.metrics import f1_score

from retdm.decisions import RULES, best_threshold, decide
from retdm.decisions.rules import rule_of
from retdm.errors import UserError

SCORES = np.array([[0.5, 0.49, 0.9, 0.1], [0.3, 0.3, 0.3, 0.3], [0.2, 0.7, 0.2, 0.2]])


def test_half_takes_one_half_itself() -> None:
    assert decide(SCORES, "half", threshold=0.9).tolist() == [
        [True, False, True, False],
        [False] * 4,
        [False, True, False, False],
    ]


def test_top3_takes_three_a_row_and_the_earlier_at_a_tie() -> None:
    assert decide(SCORES, "top3").tolist() == [
        [True, True, True, False],
        [True, True, True, False],
        [True, True, True, False],
    ]
    assert decide(SCORES[:, ::-1], "top3").tolist() == [
        [False, True, True, True],
        [True, True, True, False],
        [True, True, True, False],
    ]


def test_top3_takes_all_where_there_are_fewer_labels() -> None:
    assert decide(SCORES[:, :2], "top3").all()


def test_top3_earlier_labels_win_in_wide_tied_rows() -> None:
    # numpy's default sort keeps order in short rows by accident; a wide one shows whether ours is stable
    chosen = decide(np.tile([0.25, 0.75], (2, 100)), "top3")
    assert np.flatnonzero(chosen[0]).tolist() == [1, 3, 5]


def test_validation_takes_the_threshold_itself() -> None:
    assert decide(SCORES, "validation", 0.3).tolist() == [
        [True, True, True, False],
        [True] * 4,
        [False, True, False, False],
    ]


def test_top_takes_any_number_of_labels() -> None:
    assert decide(SCORES, "top1").tolist() == [
        [False, False, True, False],
        [True, False, False, False],
        [False, True, False, False],
    ]
    assert decide(SCORES, "top2").sum(axis=1).tolist() == [2, 2, 2] and decide(SCORES, "top12").all()


def test_an_unknown_rule_names_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        decide(SCORES, "tops")
    assert str(caught.value) == (
        "there is no decision rule 'tops'\n"
        "did you mean top3? there are: expected_f1, extra:.05, half, missed:.1, per_label_f1, precision:.9, "
        "recall:.95, t_criterion, top3, train_threshold, validation"
    )


@pytest.mark.parametrize(
    "name", ["precision>=.9", "precision", "precision:", "precision:1.1", "precision:0", "precision:x"]
)
def test_a_floor_is_written_with_a_colon_and_a_number_up_to_1(name: str) -> None:
    with pytest.raises(UserError, match=r"precision:\.9 is one, its number above 0 and at most 1, after a colon"):
        rule_of(name)


def test_a_rule_has_one_name_however_its_number_is_written() -> None:
    assert {rule_of(name).name for name in ("recall:.9", "recall:0.90", "recall:0.9")} == {"recall:0.9"}
    assert rule_of("precision:1") == rule_of("precision:1.0") != rule_of("recall:1")
    assert rule_of(rule_of("precision:.95").name) == rule_of("precision:.95")


@pytest.mark.parametrize("name", RULES)
def test_every_rule_decides_at_what_it_chose_and_says_so_in_words(name: str, case: Case) -> None:
    rule = rule_of(name)
    chosen = rule.choose(case.scores, case.target, case.known) if rule.chosen_on != "training" else [0.5] * 6
    predicted = rule.apply(case.scores, chosen)
    assert predicted.shape == case.scores.shape and predicted.dtype == bool
    assert np.array_equal(predicted, decide(case.scores, name, 0.5 if chosen is None else chosen))
    assert rule.in_words(chosen).startswith(("labels scored", "the 3 highest", "of each image the set"))
    assert isinstance(chosen, list) is rule.per_label


def test_a_threshold_must_have_the_shape_of_its_rule() -> None:
    assert rule_of("per_label_f1").check([0.1, 1.0], 2).tolist() == [0.1, 1.0]
    for name, wrong in (
        ("per_label_f1", 0.5),
        ("per_label_f1", [0.5]),
        ("validation", [0.5, 0.5]),
        ("validation", -0.1),
    ):
        with pytest.raises(UserError, match=r"in \[0, 1\]"):
            rule_of(name).check(wrong, 2)


def test_decisions_refuse_logits_and_nan() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        decide(SCORES * 10, "half")
    with pytest.raises(ValueError, match="NaN"):
        decide(SCORES * np.nan, "top3")


def brute_force(scores: np.ndarray, target: np.ndarray, known: np.ndarray) -> float:
    """Every candidate threshold in turn, evaluated by scikit-learn."""
    cells = sorted({float(s) for s in scores[known]} | {0.0})
    candidates = [(a + b) / 2 for a, b in zip(cells, cells[1:], strict=False)]
    if 0.0 in scores[known]:
        candidates.append(0.0)
    found = [(f1_score(target[known], scores[known] >= t, zero_division=0), -abs(t - 0.5), t) for t in candidates]
    top = max(value for value, _, _ in found)
    return max((near, t) for value, near, t in found if value > top - 1e-12)[1]


def test_best_threshold_equals_brute_force_with_ties(case: Case) -> None:
    assert best_threshold(case.scores, case.target, case.known) == brute_force(case.scores, case.target, case.known)


@pytest.mark.parametrize("seed", range(20))
def test_best_threshold_equals_brute_force_on_informative_scores(seed: int) -> None:
    g = np.random.default_rng(seed)
    target = (g.random((8, 4)) < 0.3).astype(int)
    target[0, 0] = 1
    scores = np.clip(g.normal(0.3 + 0.2 * target, 0.2), 0, 1).round(2)
    known = g.random((8, 4)) < 0.9
    known[0, 0] = True
    assert best_threshold(scores, target, known) == brute_force(scores, target, known)


def test_best_threshold_lies_midway_between_neighbours() -> None:
    assert best_threshold([[0.8, 0.6, 0.2]], [[1, 1, 0]], np.ones((1, 3))) == pytest.approx(0.4)
    assert best_threshold([[0.8, 0.6]], [[1, 1]], np.ones((1, 2))) == pytest.approx(0.3)  # the lowest and 0


def test_best_threshold_takes_the_nearest_to_one_half_among_equals_then_the_higher() -> None:
    # O-F1 with the first 1, 2, 3, 4, 5 cells: 2/3, 2/4, 2/5, 4/6, 4/7, so behind the first and the fourth it is equal.
    target, known = [[1, 0, 0, 1, 0]], np.ones((1, 5))
    assert best_threshold([[0.9, 0.55, 0.5, 0.2, 0.1]], target, known) == pytest.approx(0.725)  # or .15
    assert best_threshold([[0.99, 0.91, 0.8, 0.6, 0.5]], target, known) == pytest.approx(0.55)  # or .95
    assert best_threshold([[0.875, 0.625, 0.5, 0.375, 0.125]], target, known) == 0.75  # or .25


def test_best_threshold_is_one_half_where_nothing_known_is_positive() -> None:
    assert best_threshold([[0.9, 0.1]], [[0, 1]], [[True, False]]) == 0.5
    assert best_threshold(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2))) == 0.5


def test_best_threshold_reaches_scores_of_zero() -> None:
    assert best_threshold([[0.0, 0.0]], [[1, 1]], np.ones((1, 2))) == 0


def test_best_threshold_parts_neighbouring_floats() -> None:
    # Half way between two neighbouring floats rounds to the even one of the two, here the lower.
    lower = 0.5
    scores = np.array([[np.nextafter(lower, 1), lower]])
    threshold = best_threshold(scores, [[1, 0]], np.ones((1, 2)))
    assert decide(scores, "validation", threshold).tolist() == [[True, False]]


def test_best_threshold_does_not_depend_on_the_order_of_cells(case: Case) -> None:
    rows = np.random.default_rng(0).permutation(len(case.scores))
    again = best_threshold(case.scores[rows, ::-1], case.target[rows, ::-1], case.known[rows, ::-1])
    assert again == best_threshold(case.scores, case.target, case.known)


def test_t_criterion_takes_the_highest_where_none_reaches_one_half() -> None:
    scores = np.array([[0.5, 0.7, 0.1], [0.2, 0.4, 0.4], [0.0, 0.0, 0.0]])
    assert decide(scores, "t_criterion").tolist() == [[True, True, False], [False, True, False], [True, False, False]]


def test_train_threshold_takes_a_threshold_of_each_label() -> None:
    scores = np.array([[0.5, 0.7], [0.2, 0.8]])
    assert decide(scores, "train_threshold", [0.2, 0.75]).tolist() == [[True, False], [True, True]]
