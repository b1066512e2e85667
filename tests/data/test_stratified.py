"""Stratified splits: single rows, groups of very different sizes, and where nothing can be shared out."""

import numpy as np
import pytest

from retdm.data.splits import make_splits, wished_sizes
from retdm.data.stratified import take_stratified
from retdm.errors import UserError


def patients(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(groups, targets): 60 groups of 1 to 40 rows, each with labels of its own likings, the last one rare."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 41, 60)
    groups = np.repeat(np.arange(60), sizes)
    liking = rng.beta(0.5, 1.5, (60, 6)) * [1, 1, 1, 1, 0.5, 0.2]
    return groups, (rng.random((len(groups), 6)) < liking[groups]).astype(np.uint8)


def distance(targets: np.ndarray, rows: np.ndarray, share: float) -> float:
    """How far the rows' part of each label is from ``share``, at most."""
    return float(np.abs(targets[rows].sum(0) / targets.sum(0) - share).max())


def test_single_rows_are_shared_out_to_a_row() -> None:
    targets = np.repeat(np.eye(4, dtype=np.uint8), [10, 20, 35, 5], axis=0)
    taken, left = take_stratified([np.array([i]) for i in range(70)], 14, targets)
    assert targets[np.concatenate(taken)].sum(0).tolist() == [2, 4, 7, 1] and len(taken) + len(left) == 70


def test_groups_stay_whole_and_labels_and_sizes_come_near_their_share() -> None:
    stratified, at_random = [], []
    for seed in range(8):
        groups, targets = patients(seed)
        how = {"seed": seed, "test_fraction": 0.25, "groups": groups, "targets": targets}
        split, plain = (make_splits(len(groups), stratified=each, **how) for each in (True, False))  # type: ignore[arg-type]
        assert np.array_equal(np.sort(np.concatenate(list(split.values()))), np.arange(len(groups)))
        sides = [set(groups[rows]) for rows in split.values()]
        assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
        assert len(split["test"]) / len(groups) == pytest.approx(0.25, abs=0.015)
        stratified.append(distance(targets, split["test"], 0.25))
        at_random.append(distance(targets, plain["test"], 0.25))
    assert max(stratified) < 0.08 < 0.1 < np.mean(at_random)


def test_folds_of_groups_are_stratified_too() -> None:
    groups, targets = patients()
    folds = [
        make_splits(len(groups), seed=1, stratified=True, targets=targets, groups=groups, folds=4, fold=fold)
        for fold in range(4)
    ]
    rest = targets[np.setdiff1d(np.arange(len(groups)), folds[0]["test"])]
    for fold in folds:
        assert not set(groups[fold["validation"]]) & set(groups[fold["train"]])
        assert np.abs(targets[fold["validation"]].sum(0) / rest.sum(0) - 0.25).max() < 0.12


def test_groups_too_large_for_a_split_are_an_error_stratified_or_not() -> None:
    for stratified in (True, False):
        with pytest.raises(UserError, match="test split would be empty"):
            make_splits(
                90,
                seed=0,
                test_fraction=0.1,
                groups=np.arange(90) // 30,
                stratified=stratified,
                targets=np.ones((90, 1), np.uint8),
            )


def test_rows_without_labels_are_divided_by_their_number() -> None:
    split = make_splits(200, seed=0, stratified=True, targets=np.zeros((200, 3), np.uint8), groups=np.arange(200) // 2)
    assert [len(rows) for rows in split.values()] == [144, 16, 40]


def test_wished_sizes_are_those_of_single_rows() -> None:
    for folds in (None, 5):
        how = {"test_fraction": 0.3, "validation_fraction": 0.15, "folds": folds}
        found = make_splits(101, seed=0, **how)  # type: ignore[arg-type]
        assert wished_sizes(101, **how) == {name: len(rows) for name, rows in found.items()}  # type: ignore[arg-type]
