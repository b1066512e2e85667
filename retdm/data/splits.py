"""Which images train, which choose, which test."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retdm.data.duplicates import Pairs
from retdm.errors import UserError

Indices = NDArray[np.int64]
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Rows of the three parts, each sorted, disjoint, none empty."""

    train: Indices
    validation: Indices
    test: Indices


def make_split(
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
) -> Split:
    """Cut n images into three parts; a function of the arguments alone.

    Args:
        n: images.
        seed: which split (``data.split``), at least 0.
        test_fraction: the test part has round(n * test_fraction) images.
        validation_fraction: of the images that are not for testing, round(their number * this) are for validation.
        folds: at least 2: the images that are not for testing are cut into so many parts of near-equal size instead,
            the same for each ``fold``; None cuts off ``validation_fraction``.
        fold: which of them is for validation, counted from 0.
        train_size: at most so many training images, counted after validation is cut off (test and validation stay as
            they are; a smaller size keeps a subset of a larger one's images). None keeps all.
        groups: (n,) ids; rows of one group come into one part. Sizes are then as near as whole groups allow, which is
            exact where single images are there to fill up. ``train_size`` may leave out a part of a group.
        given: (n,) of "train", "validation", "test", the publisher's own split, which is kept as it is (groups do not
            mend it). A missing validation part is cut from its training part; ``folds`` are cut from both together.
        stratified: each part gets its share of each label, by iterative stratification (Sechidis et al., ECML 2011),
            so that a rare label is in all parts that it can be in; sizes are then near the wanted ones.
        targets: (n, L), which ``stratified`` goes by.

    Raises:
        UserError: a part would be empty, an argument is out of its range, or a package is missing.
    """
    check_ranges(seed, test_fraction, validation_fraction, folds, fold)
    take = _take
    if stratified:
        assert targets is not None, "a stratified split goes by the targets"
        take = functools.partial(_take_stratified, targets=targets, seed=seed)
    order = _shuffled_groups(n, np.random.default_rng(seed), groups)
    if given is None and groups is not None and len(order) < len(PARTS) <= n:
        raise UserError(
            f"the {n:,} images show only {len(order)} different picture{'s' * (len(order) > 1)}, "
            "and copies of one stay in one part: there are no three parts",
            "look at them: python -m retdm check data=<name> data.group_duplicates=none …",
        )
    in_groups = f", of {len(order)} different pictures that stay together," if len(order) < n else ""
    if given is None:
        wanted = round(n * test_fraction)
        test, order = take(order, wanted)
        _not_empty(test, "test", f"round({n} images{in_groups} x data.test_fraction {test_fraction}) = {wanted}")
        validation = None
    else:
        if strange := sorted(set(np.unique(given).tolist()) - set(PARTS)):
            raise UserError(f"the publisher's split says {strange[0]!r}", f"it may say {', '.join(PARTS)}")
        test, validation = np.flatnonzero(given == "test"), np.flatnonzero(given == "validation")
        _not_empty(test, "test", "the publisher's split names no image of it")
        keep = given != "test" if folds else given == "train"
        order = [kept for rows in order if len(kept := rows[keep[rows]])]
    if folds is not None:
        order = _cut(order, folds, take)
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
        if not 1 <= train_size <= len(train):
            raise UserError(
                f"data.train_size={train_size}, but there are {len(train)} training images "
                f"({n} in all, {len(test)} for testing, {len(validation)} for validation)",
                f"choose data.train_size from 1 to {len(train)}, or null for all",
            )
        train = train[:train_size]
    return Split(*(np.sort(part).astype(np.int64) for part in (train, validation, test)))


def check_ranges(
    seed: int, test_fraction: float, validation_fraction: float, folds: int | None = None, fold: int = 0
) -> None:
    """What can be said of a split before its images are known. Raises ``UserError``."""
    for key, fraction in (("test_fraction", test_fraction), ("validation_fraction", validation_fraction)):
        if not 0 < fraction < 1:
            raise UserError(f"data.{key}={fraction} is not between 0 and 1", "all three parts need images")
    if seed < 0:
        raise UserError(f"data.split={seed} is negative", "splits are numbered from 0")
    if folds is None and fold != 0:
        raise UserError(f"data.fold={fold} without data.folds", "data.folds=5 cuts the training part into five")
    if folds is not None and folds < 2:
        raise UserError(f"data.folds={folds} is too few", "take at least 2, or null for data.validation_fraction")
    if folds is not None and not 0 <= fold < folds:
        raise UserError(f"data.fold={fold} is none of data.folds={folds}", f"folds are numbered from 0 to {folds - 1}")


def _not_empty(rows: Indices, part: str, reason: str) -> None:
    if len(rows) == 0:
        raise UserError(
            f"the {part} part would be empty: {reason}",
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


def _cut(order: list[Indices], folds: int, take: Callable[..., tuple[Indices, list[Indices]]]) -> list[Indices]:
    """The rows of each of ``folds`` parts of near-equal size, one after the other taken off what is left."""
    reason = f"{sum(map(len, order))} training images are too few, or in too few groups, for data.folds {folds}"
    parts: list[Indices] = []
    for left in range(folds, 0, -1):
        rows, order = take(order, round(sum(map(len, order)) / left))
        _not_empty(rows, "validation", reason)
        parts.append(rows)
    return parts


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


def _take_stratified(
    order: list[Indices], wanted: int, *, targets: NDArray[np.uint8], seed: int
) -> tuple[Indices, list[Indices]]:
    """Groups of about ``wanted`` rows with their share of each label: (the rows taken, the groups left)."""
    try:
        from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit
    except ImportError as error:
        raise UserError(
            "data.stratified=true needs the package iterative-stratification", 'pip install -e ".[stratified]"'
        ) from error
    share = wanted / max(1, sum(map(len, order)))
    if not 0 < share * len(order) <= len(order) - 1:  # nothing to share out
        return _take(order, wanted)
    carried = np.stack([targets[rows].max(0) for rows in order])
    if not carried.any():
        return _take(order, wanted)
    sharing = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    _, taken = next(sharing.split(carried, carried))
    chosen = set(taken.tolist())
    return (
        np.concatenate([np.empty(0, np.int64), *(order[place] for place in sorted(chosen))]),
        [rows for place, rows in enumerate(order) if place not in chosen],
    )


def manifest(
    split: Split, ids: Sequence[str], pairs: Pairs | None, seed: int, state: Mapping[str, str]
) -> dict[str, Any]:
    """What ``split.json`` holds: the data's ``state``, the ids of each part, and for each pair [id, part, id, part].

    The part is None for an image in none of them (left out by ``train_size``); ``pairs`` is None where not searched.
    """
    side = {int(row): part for part in PARTS for row in getattr(split, part)}

    def named(found: list[tuple[int, int]] | None) -> list[list[str | None]] | None:
        return None if found is None else [[ids[a], side.get(a), ids[b], side.get(b)] for a, b in found]

    return {
        "seed": seed,
        **state,
        **{part: [ids[row] for row in getattr(split, part)] for part in PARTS},
        "pairs": None if pairs is None else {kind: named(found) for kind, found in pairs.items()},
    }
