"""The set with the greatest expected F1 against every set and every outcome."""

from itertools import product

import numpy as np
import pytest

from retdm.decisions.expected_f1 import expected_f1, expected_f1_sets


def worth(chosen: tuple[int, ...], probabilities: np.ndarray) -> float:
    """The expected F1 of a set, in a loop over all outcomes; of two empty sets it is 1."""
    total = 0.0
    for outcome in product((0, 1), repeat=len(probabilities)):
        chance = np.prod([p if has else 1 - p for p, has in zip(probabilities, outcome, strict=True)])
        hits = sum(a * b for a, b in zip(chosen, outcome, strict=True))
        size = sum(chosen) + sum(outcome)
        total += chance * (2 * hits / size if size else 1.0)
    return float(total)


@pytest.mark.parametrize("labels", [1, 3, 6])
def test_no_set_is_worth_more(labels: int) -> None:
    g = np.random.default_rng(labels)
    scores = np.concatenate([g.random((3, labels)), g.random((3, labels)) ** 4, np.full((1, labels), 0.05)])
    for row, chosen in zip(scores, expected_f1_sets(scores), strict=True):
        best = max(worth(each, row) for each in product((0, 1), repeat=labels))
        assert worth(tuple(chosen.astype(int)), row) == pytest.approx(best, abs=1e-12)


def test_expectations_equal_those_of_all_outcomes() -> None:
    falling = np.sort(np.random.default_rng(0).random((3, 5)))[:, ::-1]
    found = expected_f1(falling)
    for row, values in zip(falling, found, strict=True):
        sets = [tuple(int(j < k) for j in range(5)) for k in range(6)]
        assert values == pytest.approx([worth(each, row) for each in sets])


def test_certain_labels_are_taken_and_none_where_none_is_likely() -> None:
    scores = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.01, 0.02, 0.01]])
    assert expected_f1_sets(scores).tolist() == [[True, False, True], [False] * 3, [False] * 3]


def test_a_label_below_one_half_is_worth_its_risk_beside_doubtful_others() -> None:
    assert expected_f1_sets([[0.4, 0.4]]).tolist() == [[True, True]]  # under one half for each nothing would be


def test_ties_go_to_the_earlier_label_and_images_do_not_meet() -> None:
    g = np.random.default_rng(5)
    scores = g.integers(0, 5, (60, 40)) / 4 * 0.5
    whole = expected_f1_sets(scores)
    assert np.array_equal(whole, np.concatenate([expected_f1_sets(row[None]) for row in scores]))
    for row, chosen in zip(scores, whole, strict=True):
        left_out = row[~chosen]
        last = row[chosen].min() if chosen.any() else 1.0
        assert left_out.max(initial=0) <= last
        tied = np.flatnonzero(row == last)
        assert np.array_equal(tied[: chosen[tied].sum()], np.flatnonzero(chosen & (row == last)))


def test_nothing_of_no_image() -> None:
    assert expected_f1_sets(np.zeros((0, 4))).shape == (0, 4)
