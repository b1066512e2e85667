"""Which images train, which choose, which test; and which of them are copies of each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from retdm.errors import UserError

Pairs = dict[str, list[tuple[int, int]] | None]
Indices = NDArray[np.int64]
PARTS = ("train", "validation", "test")

# Chosen by eye on Scene: the 27 pairs from 0.978 up show one photograph twice or two shots from one spot; one more of
# the latter has 0.964, and from 0.960 down come pictures that are merely alike (sunsets over two seas). So the middle
# of the gap.
NEAR = 0.97
THUMBNAIL = 16
NEAR_LIMIT = 20_000  # images; the search compares all with all
NEAR_PAIRS_PER_IMAGE = 10
CHUNK = 16  # images reduced at a time; larger ones leave the processor's cache and are slower


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
    train_size: int | None = None,
    groups: NDArray[np.integer[Any]] | None = None,
    given: NDArray[np.str_] | None = None,
) -> Split:
    """Cut n images into three parts; a function of the arguments alone.

    Args:
        n: images.
        seed: which split (``data.split``), at least 0.
        test_fraction: the test part has round(n * test_fraction) images.
        validation_fraction: of the images that are not for testing, round(their number * this) are for validation.
        train_size: at most so many training images, counted after validation is cut off (test and validation stay as
            they are; a smaller size keeps a subset of a larger one's images). None keeps all.
        groups: (n,) ids; rows of one group come into one part. Sizes are then as near as whole groups allow, which is
            exact where single images are there to fill up. ``train_size`` may leave out a part of a group.
        given: (n,) of "train", "validation", "test", the publisher's own split, which is kept as it is (groups do not
            mend it). A missing validation part is cut from its training part.

    Raises:
        UserError: a part would be empty, or an argument is out of its range.
    """
    for key, fraction in (("test_fraction", test_fraction), ("validation_fraction", validation_fraction)):
        if not 0 < fraction < 1:
            raise UserError(f"data.{key}={fraction} is not between 0 and 1", "all three parts need images")
    if seed < 0:
        raise UserError(f"data.split={seed} is negative", "splits are numbered from 0")
    order = _shuffled_groups(n, np.random.default_rng(seed), groups)
    if given is None:
        wanted = round(n * test_fraction)
        test, order = _take(order, wanted)
        _not_empty(test, "test", f"round({n} images x data.test_fraction {test_fraction}) = {wanted}")
        validation = None
    else:
        if strange := sorted(set(np.unique(given).tolist()) - set(PARTS)):
            raise UserError(f"the publisher's split says {strange[0]!r}", f"it may say {', '.join(PARTS)}")
        test, validation = np.flatnonzero(given == "test"), np.flatnonzero(given == "validation")
        _not_empty(test, "test", "the publisher's split names no image of it")
        order = [kept for rows in order if len(kept := rows[given[rows] == "train"])]
    if validation is None or len(validation) == 0:
        rest = sum(map(len, order))
        wanted = round(rest * validation_fraction)
        validation, order = _take(order, wanted)
        reason = f"round({rest} training images x data.validation_fraction {validation_fraction}) = {wanted}"
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


def _not_empty(rows: Indices, part: str, reason: str) -> None:
    if len(rows) == 0:
        raise UserError(
            f"the {part} part would be empty: {reason}",
            "change data.test_fraction or data.validation_fraction, use more images, or data.keep_pairs_together=none",
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


def find_pairs(images: NDArray[np.uint8], near: float = NEAR) -> Pairs:
    """Pairs (a, b), a < b, of images that are the same picture.

    Args:
        images: uint8 (n, S, S, 3), S at least 16, may be a memory map; read once, in chunks.
        near: correlation above which two thumbnails of 16 x 16 are called near, over all places and colours, each
            colour's mean over the image taken off.

    Returns:
        "identical": each image whose bytes an earlier one has, paired with the first that has them.
        "near": the other pairs above ``near``; None where they were not searched (more than 20,000 images) or where
        there are more than 10 an image, for then the thumbnails do not tell these images apart. An image of one
        colour is near to none.
    """
    n = len(images)
    search = n <= NEAR_LIMIT
    thumbnails = torch.zeros(n if search else 0, 3, THUMBNAIL * THUMBNAIL)
    first_of: dict[bytes, int] = {}
    first = np.empty(n, np.int64)
    for start in range(0, n, CHUNK):
        chunk = np.array(images[start : start + CHUNK])  # a copy: torch warns of read-only memory
        for row, image in enumerate(chunk, start):
            first[row] = first_of.setdefault(sha256(image).digest(), row)
        if search:
            pixels = torch.from_numpy(chunk).permute(0, 3, 1, 2).float()
            thumbnails[start : start + CHUNK] = torch.nn.functional.adaptive_avg_pool2d(pixels, THUMBNAIL).flatten(2)
    identical = [(int(first[row]), row) for row in range(n) if first[row] != row]
    return {"identical": identical, "near": _near_pairs(thumbnails, first, near) if search else None}


def _near_pairs(thumbnails: torch.Tensor, first: Indices, near: float) -> list[tuple[int, int]] | None:
    n = len(thumbnails)
    centred = (thumbnails - thumbnails.mean(2, keepdim=True)).flatten(1)
    unit = centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-3)  # one colour: 0, a correlation with nothing
    pairs: list[tuple[int, int]] = []
    for start in range(0, n, 1024):
        alike = (unit[start : start + 1024] @ unit[start:].T > near).triu(1)
        a, b = (found.numpy() + start for found in alike.nonzero(as_tuple=True))
        new = first[a] != first[b]
        pairs += zip(a[new].tolist(), b[new].tolist(), strict=True)
        if len(pairs) > NEAR_PAIRS_PER_IMAGE * n:
            return None
    return pairs


def groups_of(pairs: Pairs, keep: str, n: int) -> Indices | None:
    """(n,) group ids that keep pairs on one side: none, identical images, or identical and near ones."""
    if keep not in ("none", "identical", "near"):
        raise UserError(f"data.keep_pairs_together={keep} is unknown", "choose none, identical or near")
    if keep == "none":
        return None
    joined = list(pairs["identical"] or [])
    if keep == "near":
        if pairs["near"] is None:
            raise UserError(
                f"near pairs of these {n:,} images are not known: more than {NEAR_LIMIT:,} images, or too much alike",
                "set data.keep_pairs_together=identical",
            )
        joined += pairs["near"]
    a, b = np.array(joined, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def manifest(split: Split, ids: Sequence[str], pairs: Pairs | None, seed: int, fingerprint: str) -> dict[str, Any]:
    """What ``split.json`` holds: the ids of each part, and for each pair [id, part, id, part].

    The part is None for an image in none of them (left out by ``train_size``); ``pairs`` is None where not searched.
    """
    side = {int(row): part for part in PARTS for row in getattr(split, part)}

    def named(found: list[tuple[int, int]] | None) -> list[list[str | None]] | None:
        return None if found is None else [[ids[a], side.get(a), ids[b], side.get(b)] for a, b in found]

    return {
        "seed": seed,
        "fingerprint": fingerprint,
        **{part: [ids[row] for row in getattr(split, part)] for part in PARTS},
        "pairs": None if pairs is None else {kind: named(found) for kind, found in pairs.items()},
    }
