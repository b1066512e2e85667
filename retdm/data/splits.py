"""The splits of a data set: which rows train, which validate, which test."""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retdm.data.duplicates import Pairs
from retdm.data.stratified import take_stratified
from retdm.errors import UserError

log = logging.getLogger(__name__)

Indices = NDArray[np.int64]
Splits = dict[str, Indices]  # train, validation and test: rows, each sorted, disjoint, none empty
SPLITS = ("train", "validation", "test")
USES = {"train": "to train on", "validation": "to choose by", "test": "to test on"}
FEW = 5  # positives below which a criterion of a label says little
NAMED = 4  # labels that a warning names


def make_splits(
    n: int,
    *,
    seed: int,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.1,
    folds: int | None = None,
    fold: int = 0,
    train_size: int | None = None,
    groups: NDArray[np.integer[Any]] | None = None,
    given: NDArray[np.str_] | None = None,
    stratified: bool = False,
    targets: NDArray[np.uint8] | None = None,
) -> Splits:
    """Divide n rows into three splits; a function of the arguments alone.

    Args:
        n: rows.
        seed: number of the random split (``data.split``).
        test_fraction: the test split has round(n * test_fraction) rows.
        validation_fraction: of the rows that are not for testing, round(their number * this) are for validation.
        folds: the rows that are not for testing are divided into so many folds of near-equal size instead, the same
            for each ``fold``; None takes ``validation_fraction``.
        fold: the fold that is the validation split, from 0.
        train_size: training rows at most, counted after validation rows are taken off (test and validation stay as they
            are; a smaller size keeps a subset of a larger one's rows). None keeps all.
        groups: (n,) ids; rows of one group come into one split. Sizes are then as near as whole groups allow, which is
            exact where single rows are there to fill up. ``train_size`` may leave out some rows of a group.
        given: (n,) of "train", "validation", "test", the publisher's own split, which is kept as it is (groups do not
            mend it). A missing validation split is taken off its training split; ``folds`` are made of both together.
        stratified: each split gets its share of each label, by iterative stratification
            (:func:`retdm.data.stratified.take_stratified`), so that a rare label is in all splits that it can be in;
            sizes are then near the wanted ones.
        targets: (n, L), which ``stratified`` goes by.

    Raises:
        UserError: a split would be empty.
    """
    take = _take
    if stratified:
        assert targets is not None, "a stratified split goes by the targets"
        take = functools.partial(_take_stratified, targets=targets)
    order = _shuffled_groups(n, np.random.default_rng(seed), groups)
    if given is None and groups is not None and len(order) < len(SPLITS) <= n:
        raise UserError(
            f"the {n:,} images are only {len(order)} group{'s' * (len(order) > 1)} that stay together, "
            "copies of one picture or of one data.group: they do not make three splits",
            "list copies: retdm check data=<name> data.group_duplicates=none …",
        )
    in_groups = f", in {len(order)} groups that stay together," if len(order) < n else ""
    if given is None:
        wanted = round(n * test_fraction)
        test, order = take(order, wanted)
        _not_empty(test, "test", f"round({n} images{in_groups} x data.test_fraction {test_fraction}) = {wanted}")
        validation = None
    else:
        if strange := sorted(set(np.unique(given).tolist()) - set(SPLITS)):
            raise UserError(f"the publisher's split names {strange[0]!r}", f"it may name {', '.join(SPLITS)}")
        test, validation = np.flatnonzero(given == "test"), np.flatnonzero(given == "validation")
        _not_empty(test, "test", "the publisher's split names no image of it")
        keep = given != "test" if folds else given == "train"
        order = [kept for rows in order if len(kept := rows[keep[rows]])]
    if folds is not None:
        order = _folds(order, folds, take)
        validation = order.pop(fold)
    elif validation is None or len(validation) == 0:
        rest = sum(map(len, order))
        wanted = round(rest * validation_fraction)
        validation, order = take(order, wanted)
        reason = f"round({rest} training images{in_groups} x data.validation_fraction {validation_fraction}) = {wanted}"
        _not_empty(validation, "validation", reason)
    train = np.concatenate([np.empty(0, np.int64), *order])
    _not_empty(train, "training", f"of {n} images {len(test)} are for testing and {len(validation)} for validation")
    if train_size is not None:
        if train_size > len(train):
            raise UserError(
                f"data.train_size={train_size}, but there are {len(train)} training images "
                f"({n} in all, {len(test)} for testing, {len(validation)} for validation)",
                f"choose data.train_size from 1 to {len(train)}, or null for all",
            )
        train = train[:train_size]
    return {name: np.sort(rows).astype(np.int64) for name, rows in zip(SPLITS, (train, validation, test), strict=True)}


def folds_of(
    n: int,
    folds: int,
    *,
    seed: int,
    groups: NDArray[np.integer[Any]] | None = None,
    targets: NDArray[np.uint8] | None = None,
) -> Indices:
    """The fold of each of n rows, 0 to ``folds`` - 1, int64 (n,); a function of the arguments alone.

    Args:
        n: rows.
        folds: of near-equal size.
        seed: of the order.
        groups: (n,) ids; rows of one group come into one fold.
        targets: (n, L): every fold gets its share of each label, see :func:`make_splits`; None draws at random.

    Raises:
        UserError: rows or groups are too few.
    """
    take = _take if targets is None else functools.partial(_take_stratified, targets=targets)
    found = np.empty(n, np.int64)
    for fold, rows in enumerate(_folds(_shuffled_groups(n, np.random.default_rng(seed), groups), folds, take)):
        found[rows] = fold
    return found


def wished_sizes(
    n: int, *, test_fraction: float, validation_fraction: float, folds: int | None, **_: object
) -> dict[str, int]:
    """The sizes that :func:`make_splits` would give n single rows, by split, without ``train_size``."""
    test = round(n * test_fraction)
    validation = round((n - test) / folds if folds else (n - test) * validation_fraction)
    return {"train": n - test - validation, "validation": validation, "test": test}


def check_fold(folds: int | None, fold: int) -> None:
    """Raise ``UserError`` unless ``fold`` is one of the ``folds``, or 0 where there are none."""
    if folds is None and fold != 0:
        raise UserError(f"data.fold={fold} without data.folds", "data.folds=5 makes five folds of the training rows")
    if folds is not None and fold >= folds:
        raise UserError(f"data.fold={fold} is none of data.folds={folds}", f"folds are numbered from 0 to {folds - 1}")


def _not_empty(rows: Indices, name: str, reason: str) -> None:
    if len(rows) == 0:
        raise UserError(
            f"the {name} split would be empty: {reason}",
            "change data.test_fraction, data.validation_fraction or data.folds, use more images, "
            "or data.group_duplicates=none",
        )


def _shuffled_groups(n: int, rng: np.random.Generator, groups: NDArray[np.integer[Any]] | None) -> list[Indices]:
    """The rows of each group, groups in random order.

    Rows are shuffled, and a group stands where its first row came: each group, large or small, is as likely to come
    early, and joining two rows leaves the order of all others as it was.
    """
    place = np.argsort(rng.permutation(n))
    if groups is None:
        groups = np.arange(n)
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    by_group = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    return [by_group[group] for group in np.argsort(place[first])]


def _folds(order: list[Indices], folds: int, take: Callable[..., tuple[Indices, list[Indices]]]) -> list[Indices]:
    """The rows of each of ``folds`` folds of near-equal size, one after the other taken off the rest."""
    reason = f"{sum(map(len, order))} training images are too few, or in too few groups, for {folds} folds"
    found: list[Indices] = []
    for left in range(folds, 0, -1):
        rows, order = take(order, round(sum(map(len, order)) / left))
        _not_empty(rows, "validation", reason)
        found.append(rows)
    return found


def _take(order: list[Indices], wanted: int) -> tuple[Indices, list[Indices]]:
    """Whole groups in their order as long as they fit into ``wanted`` rows: (the rows taken, the groups left)."""
    taken: list[Indices] = []
    left: list[Indices] = []
    missing = wanted
    for rows in order:
        if len(rows) <= missing:
            taken.append(rows)
            missing -= len(rows)
        else:
            left.append(rows)
    smallest = min(range(len(left)), key=lambda i: len(left[i]), default=None)
    if smallest is not None and len(left[smallest]) < 2 * missing:  # one group too many comes nearer than one too few
        taken.append(left.pop(smallest))
    return np.concatenate([np.empty(0, np.int64), *taken]), left


def _take_stratified(order: list[Indices], wanted: int, *, targets: NDArray[np.uint8]) -> tuple[Indices, list[Indices]]:
    """As :func:`_take`, with the share of each label; exactly that where a label or a side would be empty."""
    taken, left = take_stratified(order, wanted, targets) if wanted > 0 else ([], order)
    return (np.concatenate(taken), left) if taken and left else _take(order, wanted)


def check_labels(
    names: Sequence[str], targets: NDArray[np.uint8], known: NDArray[np.bool_], splits: Splits, *, hint: str
) -> None:
    """Warn of labels with fewer than five positives in the validation or test split, those with none first.

    Args:
        names: the L labels.
        targets: (n, L) of 0 and 1.
        known: (n, L); False where nobody said.
        splits: the rows of each.
        hint: how the splits would have more, for the warning.

    Raises:
        UserError: no row of a split has a known label.
    """
    for name, rows in splits.items():
        if not known[rows].any():
            raise UserError(
                f"none of the {len(rows):,} rows of the {name} split has a known label {USES[name]}",
                "label some of them, or choose other splits: another data.split, or no column of splits; "
                "rows that are to be predicted alone belong into retdm.predict",
            )
    counts = {name: (targets[rows] * known[rows]).sum(0, dtype=int) for name, rows in splits.items()}
    fewest = np.minimum(counts["validation"], counts["test"])
    rare = np.flatnonzero(fewest < FEW)
    if len(rare):
        first = rare[np.argsort(fewest[rare], kind="stable")][:NAMED]
        listed = [f"{names[j]} {'/'.join(str(counts[name][j]) for name in SPLITS)}" for j in first.tolist()]
        more = f" and {len(rare) - NAMED:,} more" if len(rare) > NAMED else ""
        log.warning(
            "fewer than %d rows with a label in validation or test (training/validation/test): %s%s; "
            "criteria of them say little%s",
            *(FEW, ", ".join(listed), more, f": {hint}" if hint else ""),
        )


def manifest(
    splits: Splits, ids: Sequence[str], pairs: Pairs | None, seed: int, state: Mapping[str, str]
) -> dict[str, Any]:
    """The content of ``split.json``: the data's ``state``, the ids of each split, and [id, split, id, split] a pair.

    The split of a pair's image is None where it is in none (left out by ``train_size``); ``pairs`` is None where they
    were not searched.
    """
    split_of = {int(row): name for name, rows in splits.items() for row in rows}

    def named(found: list[tuple[int, int]] | None) -> list[list[str | None]] | None:
        return None if found is None else [[ids[a], split_of.get(a), ids[b], split_of.get(b)] for a, b in found]

    return {
        "seed": seed,
        **state,
        **{name: [ids[row] for row in rows] for name, rows in splits.items()},
        "pairs": None if pairs is None else {kind: named(found) for kind, found in pairs.items()},
    }
