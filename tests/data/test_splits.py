"""The three splits: sizes, groups, the publisher's own, stratification, the labels in them, and their manifest."""

import logging
from typing import Any

import numpy as np
import pytest

from retdm.data.duplicates import Pairs
from retdm.data.splits import SPLITS, Splits, check_labels, make_splits, manifest
from retdm.errors import UserError


def rows(splits: Splits) -> list[list[int]]:
    return [splits[name].tolist() for name in SPLITS]


def sizes(splits: Splits) -> tuple[int, ...]:
    return tuple(map(len, rows(splits)))


# ---- make_splits


@pytest.mark.parametrize(
    ("n", "test_fraction", "expected"),
    [(2000, 0.2, (1440, 160, 400)), (591, 1 / 3, (355, 39, 197)), (10, 0.2, (7, 1, 2))],
)
def test_sizes_are_the_rounded_fractions(n: int, test_fraction: float, expected: tuple[int, int, int]) -> None:
    assert sizes(make_splits(n, seed=3, test_fraction=test_fraction)) == expected


@pytest.mark.parametrize("groups", [None, np.arange(97) // 2])
def test_the_splits_are_sorted_and_together_every_row_once(groups: np.ndarray | None) -> None:
    splits = make_splits(97, seed=1, groups=groups)
    assert sorted(sum(rows(splits), [])) == list(range(97))
    assert all(found == sorted(found) for found in rows(splits))
    assert all(found.dtype == np.int64 for found in splits.values())


def test_split_0_of_twenty_images_never_changes() -> None:
    # Results are known by the number of their split: with other rows they could not be compared.
    split = make_splits(20, seed=0)
    assert (split["test"].tolist(), split["validation"].tolist()) == ([2, 4, 6, 19], [13, 16])


def test_a_seed_gives_one_split_whatever_was_drawn_before_and_seeds_differ() -> None:
    first = make_splits(100, seed=5)
    np.random.seed(0)  # noqa: NPY002
    assert rows(make_splits(100, seed=5)) == rows(first)
    assert rows(make_splits(100, seed=6)) != rows(first)


def test_every_image_is_as_likely_to_be_tested_in_a_pair_or_alone() -> None:
    groups = np.array([0, 0, *range(1, 49)])  # images 0 and 1 are a pair
    counts = np.zeros(50)
    for seed in range(1500):
        counts[make_splits(50, seed=seed, groups=groups)["test"]] += 1
    assert (abs(counts / 1500 - 0.2) < 0.05).all()  # five standard errors of 0.0103


def test_groups_of_single_images_change_nothing() -> None:
    assert rows(make_splits(60, seed=2, groups=np.arange(60)[::-1] * 7)) == rows(make_splits(60, seed=2))


def test_joining_two_images_moves_few_others() -> None:
    groups = np.arange(200)
    groups[150] = 3
    alone, joined = make_splits(200, seed=0), make_splits(200, seed=0, groups=groups)
    assert len(np.setxor1d(alone["test"], joined["test"])) <= 4


@pytest.mark.parametrize("seed", range(20))
def test_groups_stay_together_and_singles_fill_up_to_the_exact_size(seed: int) -> None:
    groups = np.concatenate([np.repeat(np.arange(12), 4), np.arange(12, 52)])  # 12 fours and 40 singles
    split = make_splits(88, seed=seed, groups=groups)
    assert sizes(split) == (63, 7, 18)
    sides = [set(groups[found]) for found in split.values()]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


@pytest.mark.parametrize(("size", "nearest"), [(3, 21), (7, 21), (8, 16), (9, 18), (11, 22), (12, 24)])
def test_with_large_groups_alone_the_test_split_is_the_nearest_possible(size: int, nearest: int) -> None:
    n = 100 // size * size  # wanted: round(n / 5), 19 or 20
    split = make_splits(n, seed=0, groups=np.arange(n) // size)
    assert len(split["test"]) == min(range(size, n, size), key=lambda rows: abs(rows - round(n / 5))) == nearest


def test_train_size_shortens_training_alone_and_smaller_is_a_subset() -> None:
    whole, fifty, ten = (make_splits(200, seed=1, train_size=size) for size in (None, 50, 10))
    assert sizes(fifty) == (50, 16, 40) and sizes(ten) == (10, 16, 40)
    assert rows(fifty)[1:] == rows(whole)[1:]
    assert set(ten["train"]) < set(fifty["train"]) < set(whole["train"])
    assert fifty["train"].max() > 100  # drawn from all, not the first rows


def test_a_given_split_is_kept_and_a_missing_validation_is_taken_off_training() -> None:
    given = np.array(["train", "test"] * 50)
    split = make_splits(100, seed=0, given=given, test_fraction=0.5, groups=np.arange(100) // 4)
    assert split["test"].tolist() == list(range(1, 100, 2))
    assert len(split["validation"]) in (4, 6)  # of 50 training images 5, in pairs of one group
    assert (given[split["validation"]] == "train").all() and (given[split["train"]] == "train").all()
    assert not set(split["validation"] // 4) & set(split["train"] // 4)
    assert rows(make_splits(100, seed=1, given=given))[1] != rows(make_splits(100, seed=2, given=given))[1]


def test_a_given_validation_is_kept() -> None:
    given = np.array(["train", "validation", "test", "train"])
    assert rows(make_splits(4, seed=0, given=given)) == [[0, 3], [1], [2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 2}, r"test split would be empty: round\(2 images x data.test_fraction 0.2\) = 0"),
        ({"n": 5}, r"validation split would be empty: round\(4 training images x data.validation_fraction 0.1\) = 0"),
        ({"n": 10, "test_fraction": 0.97}, "validation split would be empty"),
        (
            {"n": 3, "test_fraction": 0.4, "validation_fraction": 0.9},
            "training split would be empty: of 3 images 1",
        ),
        ({"n": 50, "groups": np.zeros(50, int)}, "the 50 images are only 1 group that"),
        ({"n": 50, "train_size": 37}, "data.train_size=37, but there are 36 training images"),
        ({"n": 4, "given": np.array(["train"] * 4)}, "publisher's split names no image"),
        ({"n": 2, "given": np.array(["train", "dev"])}, "publisher's split names 'dev'"),
    ],
)
def test_a_split_that_cannot_be_says_which_number_is_wrong(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_splits(**{"seed": 0, **arguments})


@pytest.mark.parametrize(
    ("groups", "says"), [(1, "are only 1 group that stay together, "), (2, "are only 2 groups that stay together, ")]
)
def test_images_that_are_all_copies_are_named_as_such(groups: int, says: str) -> None:
    with pytest.raises(UserError, match=f"the 40 images {says}" if groups == 1 else says) as error:
        make_splits(40, seed=0, groups=np.arange(40) % groups)
    assert "group_duplicates" in error.value.hint


def test_an_empty_split_names_the_copies_that_leave_it_empty() -> None:
    with pytest.raises(UserError, match="images, in 3 groups that stay together, x data.validation_fraction"):
        make_splits(40, seed=0, groups=np.arange(40) % 3)


# ---- stratified


def rare_targets(n: int = 90) -> np.ndarray:
    """Five labels, of which 3 rows have the last and 12 the fourth."""
    targets = (np.random.default_rng(0).random((n, 5)) < 0.4).astype(np.uint8)
    targets[:, 3:] = 0
    targets[[4, 40, 77], 4] = 1
    targets[5:17, 3] = 1
    return targets


def test_a_stratified_split_shares_out_every_label() -> None:
    targets = rare_targets()
    for seed in range(5):
        split = make_splits(90, seed=seed, test_fraction=1 / 3, stratified=True, targets=targets)
        assert sorted(sum(rows(split), [])) == list(range(90))
        assert targets[split["test"]].sum(0)[4] == 1  # of 3: a random split often gives 0 or 3
        shares = targets[split["test"]].sum(0)[:4] / targets.sum(0)[:4]
        assert np.all(np.abs(shares - 1 / 3) < 0.12)
    assert any(targets[make_splits(90, seed=seed, test_fraction=1 / 3)["test"], 4].sum() != 1 for seed in range(5))


def test_a_stratified_split_is_a_function_of_its_number_and_keeps_groups() -> None:
    targets, groups = rare_targets(), np.arange(90) // 2
    how: dict[str, Any] = {"test_fraction": 0.3, "stratified": True, "targets": targets, "groups": groups}
    first, again, other = (make_splits(90, seed=seed, **how) for seed in (1, 1, 2))
    assert rows(first) == rows(again) != rows(other)
    for found in first.values():
        assert np.array_equal(found[::2] + 1, found[1::2])


# ---- labels

KNOWN = {"train": np.arange(0, 20), "validation": np.arange(20, 30), "test": np.arange(30, 40)}


def test_labels_with_few_positives_are_listed_with_their_counts(caplog: pytest.LogCaptureFixture) -> None:
    def warned(targets: np.ndarray, known: np.ndarray, hint: str = "do this") -> str:
        caplog.clear()
        check_labels([f"label {j}" for j in range(targets.shape[1])], targets, known, KNOWN, hint=hint)
        return "\n".join(record.getMessage() for record in caplog.records)

    targets = np.ones((40, 3), np.uint8)
    assert warned(targets, np.ones((40, 3), bool)) == ""
    targets[22:, 1] = 0  # 20, 2, 0
    targets[26:30, 2] = 0  # 20, 6, 10
    known = np.ones((40, 3), bool)
    known[20:22, 2] = False  # 20, 4, 10
    assert warned(targets, known) == (
        "fewer than 5 rows with a label in validation or test (training/validation/test): "
        "label 1 20/2/0, label 2 20/4/10; criteria of them say little: do this"
    )
    assert caplog.records[0].levelno == logging.WARNING
    assert "label 3 0/0/0 and 6 more;" in warned(np.zeros((40, 10), np.uint8), np.ones((40, 10), bool), "")


@pytest.mark.parametrize("name", KNOWN)
def test_a_split_without_a_known_cell_is_an_error(name: str) -> None:
    known = np.ones((40, 2), bool)
    known[KNOWN[name]] = False
    with pytest.raises(UserError, match=f"of the {name} split has a known label"):
        check_labels(["a", "b"], np.ones((40, 2), np.uint8), known, KNOWN, hint="")


# ---- manifest


def test_the_manifest_names_the_rows_of_each_split_and_the_splits_of_each_pair() -> None:
    splits = {"train": np.array([0, 3]), "validation": np.array([1]), "test": np.array([4])}
    pairs: Pairs = {"identical": [(0, 4)], "near": [(2, 3)]}
    state = {"fingerprint": "scene-1f", "labels": "c0"}
    found = manifest(splits, list("abcde"), pairs, 7, state)
    assert found == {
        **{"seed": 7, "fingerprint": "scene-1f", "labels": "c0"},
        **{"train": ["a", "d"], "validation": ["b"], "test": ["e"]},
        "pairs": {"identical": [["a", "train", "e", "test"]], "near": [["c", None, "d", "train"]]},
    }
    searched = manifest(splits, list("abcde"), {"identical": [], "near": None}, 7, state)
    assert searched["pairs"] == {"identical": [], "near": None}
    assert manifest(splits, list("abcde"), None, 7, state)["pairs"] is None
