import json
import sys

import numpy as np
import pytest

from retdm.data.splits import Split, make_split, manifest
from retdm.errors import UserError


def parts(split: Split) -> list[list[int]]:
    return [split.train.tolist(), split.validation.tolist(), split.test.tolist()]


def sizes(split: Split) -> tuple[int, int, int]:
    return len(split.train), len(split.validation), len(split.test)


# ---- make_split


@pytest.mark.parametrize(
    ("n", "test_fraction", "expected"),
    [(2000, 0.2, (1440, 160, 400)), (591, 1 / 3, (355, 39, 197)), (10, 0.2, (7, 1, 2))],
)
def test_sizes_are_the_rounded_fractions(n: int, test_fraction: float, expected: tuple[int, int, int]) -> None:
    assert sizes(make_split(n, seed=3, test_fraction=test_fraction)) == expected


@pytest.mark.parametrize("groups", [None, np.arange(97) // 2])
def test_the_parts_are_sorted_and_together_every_image_once(groups: np.ndarray | None) -> None:
    split = make_split(97, seed=1, groups=groups)
    assert sorted(row for part in parts(split) for row in part) == list(range(97))
    assert all(part == sorted(part) for part in parts(split))
    assert all(part.dtype == np.int64 for part in (split.train, split.validation, split.test))


def test_split_0_of_twenty_images_never_changes() -> None:
    # Results are told apart by the number of their split: with other rows they could not be compared.
    split = make_split(20, seed=0)
    assert (split.test.tolist(), split.validation.tolist()) == ([2, 4, 6, 19], [13, 16])


def test_a_seed_gives_one_split_whatever_was_drawn_before_and_seeds_differ() -> None:
    first = make_split(100, seed=5)
    np.random.seed(0)  # noqa: NPY002
    assert parts(make_split(100, seed=5)) == parts(first)
    assert parts(make_split(100, seed=6)) != parts(first)


def test_every_image_is_as_likely_to_be_tested_in_a_pair_or_alone() -> None:
    groups = np.array([0, 0, *range(1, 49)])  # images 0 and 1 are a pair
    counts = np.zeros(50)
    for seed in range(1500):
        counts[make_split(50, seed=seed, groups=groups).test] += 1
    assert (abs(counts / 1500 - 0.2) < 0.05).all()  # five standard errors of 0.0103


def test_groups_of_single_images_change_nothing() -> None:
    assert parts(make_split(60, seed=2, groups=np.arange(60)[::-1] * 7)) == parts(make_split(60, seed=2))


def test_joining_two_images_moves_few_others() -> None:
    groups = np.arange(200)
    groups[150] = 3
    alone, joined = make_split(200, seed=0), make_split(200, seed=0, groups=groups)
    assert len(np.setxor1d(alone.test, joined.test)) <= 4


@pytest.mark.parametrize("seed", range(20))
def test_groups_stay_together_and_singles_fill_up_to_the_exact_size(seed: int) -> None:
    groups = np.concatenate([np.repeat(np.arange(12), 4), np.arange(12, 52)])  # 12 fours and 40 singles
    split = make_split(88, seed=seed, groups=groups)
    assert sizes(split) == (63, 7, 18)
    sides = [set(groups[part]) for part in (split.train, split.validation, split.test)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


@pytest.mark.parametrize(("size", "nearest"), [(3, 21), (7, 21), (8, 16), (9, 18), (11, 22), (12, 24)])
def test_with_large_groups_alone_the_test_part_is_the_nearest_possible(size: int, nearest: int) -> None:
    n = 100 // size * size  # wanted: round(n / 5), 19 or 20
    split = make_split(n, seed=0, groups=np.arange(n) // size)
    assert len(split.test) == min(range(size, n, size), key=lambda rows: abs(rows - round(n / 5))) == nearest


def test_train_size_cuts_training_alone_and_smaller_is_a_subset() -> None:
    whole, fifty, ten = (make_split(200, seed=1, train_size=size) for size in (None, 50, 10))
    assert sizes(fifty) == (50, 16, 40) and sizes(ten) == (10, 16, 40)
    assert parts(fifty)[1:] == parts(whole)[1:]
    assert set(ten.train) < set(fifty.train) < set(whole.train)
    assert fifty.train.max() > 100  # drawn from all, not the first rows


def test_a_given_split_is_kept_and_a_missing_validation_is_cut_from_training() -> None:
    given = np.array(["train", "test"] * 50)
    split = make_split(100, seed=0, given=given, test_fraction=0.5, groups=np.arange(100) // 4)
    assert split.test.tolist() == list(range(1, 100, 2))
    assert len(split.validation) in (4, 6)  # of 50 training images 5, in pairs of one group
    assert (given[split.validation] == "train").all() and (given[split.train] == "train").all()
    assert not set(split.validation // 4) & set(split.train // 4)
    assert parts(make_split(100, seed=1, given=given))[1] != parts(make_split(100, seed=2, given=given))[1]


def test_a_given_validation_is_kept() -> None:
    given = np.array(["train", "validation", "test", "train"])
    assert parts(make_split(4, seed=0, given=given)) == [[0, 3], [1], [2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 2}, r"test part would be empty: round\(2 images x data.test_fraction 0.2\) = 0"),
        ({"n": 5}, r"validation part would be empty: round\(4 training images x data.validation_fraction 0.1\) = 0"),
        ({"n": 10, "test_fraction": 0.97}, "validation part would be empty"),
        ({"n": 3, "test_fraction": 0.4, "validation_fraction": 0.9}, "training part would be empty: of 3 images 1 are"),
        ({"n": 50, "groups": np.zeros(50, int)}, "the 50 images show only 1 different picture, "),
        ({"n": 50, "validation_fraction": 0.0}, "data.validation_fraction=0.0 is not between"),
        ({"n": 50, "test_fraction": 1.0}, "data.test_fraction=1.0 is not between"),
        ({"n": 50, "train_size": 37}, "data.train_size=37, but there are 36 training images"),
        ({"n": 50, "train_size": 0}, "data.train_size=0"),
        ({"n": 50, "seed": -1}, "data.split=-1 is negative"),
        ({"n": 4, "given": np.array(["train"] * 4)}, "publisher's split names no image"),
        ({"n": 2, "given": np.array(["train", "dev"])}, "publisher's split says 'dev'"),
    ],
)
def test_a_split_that_cannot_be_says_which_number_is_wrong(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_split(**{"seed": 0, **arguments})


# ---- stratified


def rare_targets(n: int = 90) -> np.ndarray:
    """Five labels, of which the last is carried by 3 images, the fourth by 12."""
    targets = (np.random.default_rng(0).random((n, 5)) < 0.4).astype(np.uint8)
    targets[:, 3:] = 0
    targets[[4, 40, 77], 4] = 1
    targets[5:17, 3] = 1
    return targets


def test_a_stratified_split_shares_out_every_label() -> None:
    targets = rare_targets()
    for seed in range(5):
        split = make_split(90, seed=seed, test_fraction=1 / 3, stratified=True, targets=targets)
        assert sorted(row for part in parts(split) for row in part) == list(range(90))
        assert targets[split.test].sum(0)[4] == 1  # of 3: a random split often gives 0 or 3
        shares = targets[split.test].sum(0)[:4] / targets.sum(0)[:4]
        assert np.all(np.abs(shares - 1 / 3) < 0.12)
    assert any(targets[make_split(90, seed=seed, test_fraction=1 / 3).test, 4].sum() != 1 for seed in range(5))


def test_a_stratified_split_is_a_function_of_its_number_and_keeps_groups() -> None:
    targets, groups = rare_targets(), np.arange(90) // 2
    how = {"test_fraction": 0.3, "stratified": True, "targets": targets, "groups": groups}
    first, again, other = (make_split(90, seed=seed, **how) for seed in (1, 1, 2))
    assert parts(first) == parts(again) != parts(other)
    for part in (first.train, first.validation, first.test):
        assert np.array_equal(part[::2] + 1, part[1::2])


def test_a_stratified_split_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "iterstrat.ml_stratifiers", None)
    with pytest.raises(UserError, match="iterative-stratification") as error:
        make_split(90, seed=0, stratified=True, targets=rare_targets())
    assert "[stratified]" in error.value.hint


# ---- manifest


def test_the_manifest_names_parts_and_the_side_of_each_pair() -> None:
    split = Split(np.array([0, 3]), np.array([1]), np.array([4]))
    pairs = {"identical": [(0, 4)], "near": [(2, 3)]}
    written = json.loads(
        json.dumps(manifest(split, list("abcde"), pairs, 7, {"fingerprint": "scene-1f", "labels": "c0"}))
    )
    assert written == {
        "seed": 7,
        "fingerprint": "scene-1f",
        "labels": "c0",
        "train": ["a", "d"],
        "validation": ["b"],
        "test": ["e"],
        "pairs": {"identical": [["a", "train", "e", "test"]], "near": [["c", None, "d", "train"]]},
    }


def test_the_manifest_tells_no_pairs_from_pairs_not_searched() -> None:
    split = Split(np.array([0]), np.array([1]), np.array([2]))
    assert manifest(split, list("abc"), {"identical": [], "near": None}, 0, {})["pairs"] == {
        "identical": [],
        "near": None,
    }
    assert manifest(split, list("abc"), None, 0, {})["pairs"] is None


@pytest.mark.parametrize(
    ("groups", "says"), [(1, "show only 1 different picture, "), (2, "only 2 different pictures, ")]
)
def test_images_that_are_all_copies_are_told_as_such(groups: int, says: str) -> None:
    with pytest.raises(UserError, match=f"the 40 images {says}" if groups == 1 else says) as error:
        make_split(40, seed=0, groups=np.arange(40) % groups)
    assert "group_duplicates" in error.value.hint


def test_an_empty_part_names_the_copies_that_leave_it_empty() -> None:
    with pytest.raises(
        UserError, match="images, of 3 different pictures that stay together, x data.validation_fraction"
    ):
        make_split(40, seed=0, groups=np.arange(40) % 3)
