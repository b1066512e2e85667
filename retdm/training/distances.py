"""Distances between all bags of a data set, computed once and kept beside its features."""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from retdm.data.cached_array import CachedArray, cached_array
from retdm.data.module import Data, ImageData
from retdm.methods.components.bag_distances import Array, BagList, Kind, block_distances, blocks, measured
from retdm.methods.on_bags.distance_method import DistanceMethod
from retdm.screen import track

VERSION = 2  # counts up when the same key would give other distances


class Stored(NamedTuple):
    """All bags of a data set where they lie: values (T, D), or maps of regions (n, D, h, w) with as many a bag."""

    values: NDArray[np.floating[Any]] | CachedArray
    offsets: NDArray[np.int64]

    @property
    def content(self) -> str:
        """A hash of it."""
        if isinstance(self.values, CachedArray):
            return self.values.blocks.content
        digest = hashlib.sha256(str(self.values.shape).encode())
        for array in (self.values, self.offsets):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def instances(self, bags: slice) -> NDArray[np.floating[Any]]:
        """Those of a slice with both ends. (T, D)"""
        if self.values.ndim == 2:
            return self.values[self.offsets[bags.start] : self.offsets[bags.stop]]
        maps = np.asarray(self.values[bags])
        return maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1).reshape(-1, maps.shape[1])


def use_distances(data: Data, method: DistanceMethod, folder: Path | None) -> None:
    """Give ``method`` the distances between all bags of ``data``, or between its images' regions.

    Instances are scaled by the training part alone, so the table of a scale serves all methods and seeds of a split; a
    table without one (``scale: none``) serves all splits.

    Args:
        data: bags, or images whose features are there, cut into parts.
        method: which says what distance.
        folder: of the cache; None keeps nothing and computes them now.

    Raises:
        UserError: the folder cannot be written or its disk is too small.
    """
    if isinstance(data, ImageData):
        assert data.features is not None, "features come first"
        regions = math.prod(data.features.shape[2:])
        stored = Stored(data.features, np.arange(len(data.features) + 1) * regions)
    else:
        stored = Stored(data.source.instances, data.source.offsets)  # type: ignore[union-attr]
    n = len(data.source)
    train = np.zeros(n, bool)
    train[data.splits["train"]] = True
    shift, spread = measured(method.scale, _instances_of(stored, train))
    if folder is None:
        table: NDArray[np.float32] | CachedArray
        _compute(method.distance, stored, shift, spread, table := np.zeros((n, n), np.float32))
    else:
        key = {
            "version": VERSION,
            "bags": stored.content,
            "distance": method.distance,
            "scale": hashlib.sha256(np.concatenate([shift, spread]).tobytes()).hexdigest(),
        }
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        table = cached_array(
            folder / f"{name}.distances",
            "the distances",
            (n, n),
            np.float32,
            lambda into, begun, save: _compute(method.distance, stored, shift, spread, into),
        )
    method.give_table(table, shift, spread)


def _instances_of(stored: Stored, chosen: NDArray[np.bool_]) -> Iterator[NDArray[np.floating[Any]]]:
    sizes = np.diff(stored.offsets)
    for bags in blocks(stored.offsets):
        found = stored.instances(bags)[np.repeat(chosen[bags], sizes[bags])]
        if len(found):
            yield found


def _compute(kind: Kind, stored: Stored, shift: Array, spread: Array, into: NDArray[np.float32]) -> None:
    """Fill ``into`` (n, n) by blocks of bags, those below the diagonal from their mirrors."""
    parts = list(blocks(stored.offsets))
    pairs = [(rows, columns) for i, rows in enumerate(parts) for columns in parts[i:]]
    tasks = (delayed(_between)(kind, stored, shift, spread, *pair) for pair in pairs)
    title = f"{kind.replace('_', ' ')} distances of {len(into):,} bags, once"
    # What takes the time lets other threads run: products, reductions, assignments.
    with threadpool_limits(1):
        found = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(tasks)
        for (rows, columns), block in track(zip(pairs, found, strict=True), title, total=len(pairs)):
            into[columns, rows] = block.T
            into[rows, columns] = block


def _between(kind: Kind, stored: Stored, shift: Array, spread: Array, rows: slice, columns: slice) -> Array:
    def scaled(bags: slice) -> BagList:
        offsets = stored.offsets[bags.start : bags.stop + 1]
        return BagList((stored.instances(bags) - shift) / spread, offsets - offsets[0])

    return block_distances(kind, scaled(rows), scaled(columns))
