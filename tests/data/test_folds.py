"""Folds of cross-validation."""

from typing import Any

import numpy as np
import pytest

from retdm.data.splits import Splits, check_fold, make_splits
from retdm.errors import UserError
from retdm.settings.compose import compose_settings

GIVEN = np.array(["train", "test", "train", "validation"] * 25)
TARGETS = (np.random.default_rng(0).random((100, 5)) < 0.4).astype(np.uint8)
TARGETS[:, 4] = np.arange(100) % 10 == 3  # ten of a hundred


def folds_of(folds: int, **how: Any) -> list[Splits]:
    return [make_splits(100, seed=2, folds=folds, fold=fold, **how) for fold in range(folds)]


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"groups": np.arange(100) // 2},
        {"given": GIVEN},
        {"stratified": True, "targets": TARGETS},
        {"stratified": True, "targets": TARGETS, "groups": np.arange(100) // 2},
    ],
    ids=["plain", "pairs", "given", "stratified", "stratified pairs"],
)
@pytest.mark.parametrize("folds", [2, 5])
def test_each_image_that_is_not_for_testing_is_validated_in_one_fold_and_trained_on_in_the_others(
    folds: int, how: dict[str, Any]
) -> None:
    whole = make_splits(100, seed=2, **how)
    rest = np.setdiff1d(np.arange(100), whole["test"])
    splits = folds_of(folds, **how)
    assert np.array_equal(np.sort(np.concatenate([split["validation"] for split in splits])), rest)
    for split in splits:
        assert np.array_equal(split["test"], whole["test"])
        assert np.array_equal(np.union1d(split["train"], split["validation"]), rest)
        assert len(split["train"]) + len(split["validation"]) == len(rest)


def test_folds_differ_by_one_image_at_most() -> None:
    sizes = [len(split["validation"]) for split in folds_of(7)]  # of 80
    assert sorted(sizes) == [11] * 4 + [12] * 3


def test_folds_are_a_function_of_the_split_alone_and_drawn_from_everywhere() -> None:
    first, again = folds_of(5), folds_of(5)
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one["validation"], other["validation"])
        assert one["validation"].min() < 40 and one["validation"].max() > 60
    other_split = make_splits(100, seed=3, folds=5, fold=0)
    assert not np.array_equal(first[0]["validation"], other_split["validation"])


def test_a_pair_stays_in_one_fold() -> None:
    for split in folds_of(5, groups=np.arange(100) // 2):
        assert not set(split["validation"] // 2) & set(split["train"] // 2)
        assert len(split["validation"]) == 16


@pytest.mark.parametrize("folds", [2, 5])
@pytest.mark.parametrize("groups", [None, np.arange(100) // 2])
def test_a_stratified_fold_has_its_share_of_a_rare_label(folds: int, groups: np.ndarray | None) -> None:
    splits = folds_of(folds, stratified=True, targets=TARGETS, groups=groups)
    counts = [int(TARGETS[split["validation"], 4].sum()) for split in splits]
    assert max(counts) - min(counts) <= 1, counts


def test_train_size_leaves_out_training_images_of_a_fold_alone() -> None:
    whole, less = (make_splits(100, seed=2, folds=5, fold=1, train_size=size) for size in (None, 20))
    assert np.array_equal(whole["validation"], less["validation"]) and np.array_equal(whole["test"], less["test"])
    assert len(less["train"]) == 20 and set(less["train"]) < set(whole["train"])


def test_a_fold_is_one_of_the_folds() -> None:
    with pytest.raises(UserError, match="data.fold=5 is none of data.folds=5"):
        check_fold(5, 5)
    with pytest.raises(UserError, match="data.fold=2 without data.folds"):
        check_fold(None, 2)
    check_fold(5, 4)


@pytest.mark.parametrize("how", [{"folds": 81}, {"folds": 5, "groups": np.arange(100) // 20}])
def test_too_few_rows_or_groups_for_the_folds_are_an_error(how: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="the validation split would be empty: 80 training images are too few"):
        make_splits(100, seed=2, **how)


@pytest.mark.parametrize("data", ["synthetic", "scene", "nuswide", "scene_bags"])
def test_each_fold_is_a_run_of_its_own(data: str) -> None:
    found = [
        compose_settings([f"data={data}", "trainer.precision=32-true", *words]).identity
        for words in ([], ["data.folds=5"], ["data.folds=5", "data.fold=2"])
    ]
    assert found[0] != found[1] != found[2]
