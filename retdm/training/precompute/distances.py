"""Distances between all bags of a data set, computed once and cached beside its features."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from retdm.bags import Bags, RegionBags
from retdm.data.base_module import Data
from retdm.data.cached_array import CachedArray
from retdm.display.screen import track
from retdm.methods.components.bag_distances import Kind, block_distances, blocks
from retdm.methods.components.labels import Array
from retdm.methods.components.standardise import Scale, shift_and_spread
from retdm.training.precompute.arrays import precomputed_array

VERSION = 2  # counts up when the same key would give other distances


def precompute_distances(
    data: Data, distance: Kind, scale: Scale, folder: Path | None
) -> tuple[NDArray[np.float32] | CachedArray, Array, Array]:
    """Distances between all bags of a data set, or between its images' regions.

    Instances are scaled by the training split alone, so the table of a scale serves all methods and seeds of a split; a
    table without one (``scale: none``) serves all splits.

    Args:
        data: bags, or images with features.
        distance: see :func:`retdm.methods.components.bag_distances.bag_distances`.
        scale: of instances.
        folder: of the cache; None caches nothing and computes them now.

    Returns:
        The table (N, N), and what is subtracted (D,) from instances before they are divided (D,).

    Raises:
        UserError: the folder cannot be written or its disk is too small.
    """
    bags, n = data.bags, len(data.source)
    train = np.zeros(n, bool)
    train[data.splits["train"]] = True
    shift, spread = shift_and_spread(scale, _instances_of(bags, train))
    key = {
        "version": VERSION,
        "bags": None if folder is None else _content(bags),
        "distance": distance,
        "scale": hashlib.sha256(np.concatenate([shift, spread]).tobytes()).hexdigest(),
    }

    def fill(into: NDArray[np.float32], begun: int, save: Any) -> None:
        _compute(distance, bags, shift, spread, into)

    return precomputed_array(folder, "distances", key, (n, n), np.float32, fill), shift, spread


def _content(bags: Bags | RegionBags) -> str:
    """A hash of all bags."""
    values: Any = bags.maps if isinstance(bags, RegionBags) else bags.instances
    if isinstance(values, CachedArray):
        return values.blocks.content
    digest = hashlib.sha256(str(values.shape).encode())
    for array in (values, bags.offsets):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _instances_of(bags: Bags | RegionBags, chosen: NDArray[np.bool_]) -> Iterator[NDArray[np.floating[Any]]]:
    for block in blocks(bags.offsets):
        found = bags.take(block).take(chosen[block])
        if len(found):
            yield found.instances


def _compute(kind: Kind, bags: Bags | RegionBags, shift: Array, spread: Array, into: NDArray[np.float32]) -> None:
    """Fill ``into`` (n, n) by blocks of bags, those below the diagonal from their mirrors."""
    all_blocks = list(blocks(bags.offsets))
    pairs = [(rows, columns) for i, rows in enumerate(all_blocks) for columns in all_blocks[i:]]
    tasks = (delayed(_between)(kind, bags, shift, spread, *pair) for pair in pairs)
    title = f"{kind.replace('_', ' ')} distances of {len(into):,} bags, once"
    # Threads suffice: products, reductions and assignments, which take the time, run side by side.
    with threadpool_limits(1):
        found = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(tasks)
        for (rows, columns), block in track(zip(pairs, found, strict=True), title, total=len(pairs)):
            into[columns, rows] = block.T
            into[rows, columns] = block


def _between(kind: Kind, bags: Bags | RegionBags, shift: Array, spread: Array, rows: slice, columns: slice) -> Array:
    return block_distances(kind, *(bags.take(block).scaled(shift, spread) for block in (rows, columns)))
