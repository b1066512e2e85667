"""Distances between all bags of a data set, computed once and kept beside its features."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from retdm.data.locked import locked
from retdm.data.module import Data, ImageData
from retdm.errors import UserError
from retdm.methods.by_distance import DistanceMethod
from retdm.methods.distances import Array, BagList, Kind, block_distances, blocks, measured
from retdm.screen import track

VERSION = 1  # counts up when the same key would give other distances


class Stored(NamedTuple):
    """All bags of a data set where they lie: values (T, D), or maps of regions (n, D, h, w) with as many a bag."""

    values: NDArray[np.floating[Any]]
    offsets: NDArray[np.int64]

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
    usable = np.ones(len(data.source), bool)
    if isinstance(data, ImageData):
        assert data.features is not None, "features come first"
        usable[:] = False
        usable[data.readable] = True
        regions = data.features[0, 0].size
        stored = Stored(data.features, np.arange(len(data.features) + 1) * regions)
        content = Path(getattr(data.features, "filename", None) or "memory").stem
    else:
        stored = Stored(data.source.instances, data.source.offsets)  # type: ignore[union-attr]
        content = data.source.fingerprint
    train = np.zeros(len(usable), bool)
    train[data.parts["train"]] = True
    shift, spread = measured(method.scale, _instances_of(stored, train))
    n = len(usable)
    if folder is None:
        table = np.zeros((n, n), np.float32)
        _compute(method.distance, stored, shift, spread, table)
    else:
        key = {
            "version": VERSION,
            "bags": content,
            "usable": hashlib.sha256(usable.tobytes()).hexdigest(),
            "distance": method.distance,
            "scale": hashlib.sha256(np.concatenate([shift, spread]).tobytes()).hexdigest(),
        }
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        try:
            table = _kept(method.distance, stored, shift, spread, folder / f"{name}.distances")
        except OSError as error:
            raise UserError(
                f"the distances cannot be written: {folder}: {error.strerror or error}",
                "choose another folder with data.cache=<folder>, or make room there",
            ) from error
    method.give_table(table, shift, spread)


def _instances_of(stored: Stored, chosen: NDArray[np.bool_]) -> Iterator[NDArray[np.floating[Any]]]:
    sizes = np.diff(stored.offsets)
    for bags in blocks(stored.offsets):
        found = stored.instances(bags)[np.repeat(chosen[bags], sizes[bags])]
        if len(found):
            yield found


def _kept(kind: Kind, stored: Stored, shift: Array, spread: Array, file: Path) -> NDArray[np.float32]:
    """The table in ``file``, computed where it is not there yet; a computation that was killed leaves nothing."""
    n = len(stored.offsets) - 1
    size = 4 * n * n
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        with locked(file.with_suffix(".lock")):
            if not file.exists():
                if size > (free := shutil.disk_usage(file.parent).free):
                    raise UserError(
                        f"the distances need {size / 1e9:.1f} GB in {file.parent}, where {free / 1e9:.1f} GB are free",
                        "choose another folder with data.cache=<folder>, or make room there",
                    )
                part = file.with_suffix(".part")
                table = np.memmap(part, np.float32, "w+", shape=(n, n))
                _compute(kind, stored, shift, spread, table)
                table.flush()
                part.replace(file)
    if file.stat().st_size != size:
        raise UserError(f"the distances {file} are damaged: another size", f"delete {file} and run again")
    return np.memmap(file, np.float32, "r", shape=(n, n))


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
