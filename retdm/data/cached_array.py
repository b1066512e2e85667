"""Caches: arrays computed once and kept in a file, which is there whole or not at all and checked when it is read.

A cache is ``<key>.<kind>``, its bytes in blocks, and ``<key>.npz`` beside it, its notes: where each block ends, and its
checksum. The notes are written last, so a cache with notes is finished. A reader holds them open under a shared lock:
neither a second process that builds nor ``retdm cache clear`` takes a cache from under it.
"""

import logging
import math
import mmap
import os
import shutil
import weakref
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from retdm.errors import UserError
from retdm.files import atomic, locked, part_of, put, shared

log = logging.getLogger(__name__)

BLOCK = 2**16  # bytes that are checked at once, about
Notes = dict[str, Any]  # arrays: offsets int64 (blocks + 1,), sums uint32 (blocks,), and what else is to be remembered
Fill = Callable[[NDArray[Any], int, Callable[[int], None]], None]


class Blocks:
    """``blocks[i]`` is block i, bytes that cannot be written; compared with its checksum when it is first read.

    Each process checks what it reads. Pickled, it is its place, and maps the file anew.

    Args:
        file: of the bytes; the notes lie beside it.
        what: the name of its content, for messages.

    Attributes:
        notes: the arrays of the notes.
        unchecked: all bytes, without a check.

    Raises:
        FileNotFoundError: there are no notes, so there is no such cache.
        UserError: file or notes are damaged.
    """

    def __init__(self, file: Path, what: str) -> None:
        self.file, self.what = file, what
        self._held: BinaryIO = shared(file.with_suffix(".npz"))
        weakref.finalize(self, self._held.close)  # a forgotten cache gives no warning of an unclosed file
        try:
            with np.load(self._held, allow_pickle=False) as content:
                self.notes: Notes = {name: content[name] for name in content.files}
            self.offsets: NDArray[np.int64] = self.notes["offsets"]
            self.sums: NDArray[np.uint32] = self.notes["sums"]
            with file.open("rb") as opened:
                size = int(self.offsets[-1])
                if os.fstat(opened.fileno()).st_size != size:
                    raise ValueError("its size is wrong")
                self.unchecked = memoryview(mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_READ) if size else b"")
        except Exception as error:  # NumPy and zipfile raise many kinds on broken bytes
            raise self.damaged(str(error)) from error
        self._checked = np.zeros(len(self), bool)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.file, self.what)

    def __len__(self) -> int:
        return len(self.sums)

    def __getitem__(self, block: int) -> memoryview:
        content = self.unchecked[self.offsets[block] : self.offsets[block + 1]]
        if not self._checked[block]:
            if zlib.crc32(content) != self.sums[block]:
                raise self.damaged(f"block {block} has a wrong checksum")
            self._checked[block] = True
        return content

    def check(self, blocks: NDArray[np.int64]) -> None:
        """Compare some blocks with their checksums, if they were not read before. Raises ``UserError``."""
        for block in np.unique(blocks[~self._checked[blocks]]):
            self[block]

    def damaged(self, why: str) -> UserError:
        """The error of a damaged cache, which may be cleared from now on."""
        self._held.close()
        clear = f"clear it with `retdm cache clear {self.file.parent}` and run again"
        return UserError(f"{self.file} ({self.what}) is damaged: {why}", clear)

    @property
    def content(self) -> str:
        """A hash of the content, from the checksums of the blocks."""
        return sha256(self.offsets.tobytes() + self.sums.tobytes()).hexdigest()[:16]


class CachedArray:
    """An array on disk: ``array[rows]`` are rows by number, slice or integer array, checked when they are first read.

    Attributes:
        blocks: of the file, each of a number of whole rows.
        shape, dtype: as of an array.
    """

    def __init__(self, blocks: Blocks, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.blocks, self.shape, self.dtype = blocks, shape, np.dtype(dtype)
        self._rows = np.frombuffer(blocks.unchecked, self.dtype).reshape(shape)
        self._block_of = np.arange(shape[0]) // _rows_per_block(shape, self.dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.blocks, self.shape, self.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        self.blocks.check(np.atleast_1d(self._block_of[rows]))
        found: NDArray[Any] = self._rows[rows]
        return found

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self[:], dtype)


def open_cache(
    file: Path, what: str, build: Callable[[Path], Notes], fresh: Callable[[Blocks], bool] = lambda blocks: True
) -> Blocks:
    """The cache in ``file``, built where it is not there yet.

    Two processes may ask at once: one builds, the other waits.

    Args:
        file: of the cache.
        what: the name of its content, for messages.
        build: writes the bytes to a path and returns their notes.
        fresh: True where the content is still valid; else it is built anew.

    Raises:
        UserError: the folder cannot be written, its disk is too small or full, or the cache is damaged.
    """

    def found() -> Blocks | None:
        try:
            blocks = Blocks(file, what)
        except FileNotFoundError:
            return None
        return blocks if fresh(blocks) else None

    try:
        while (blocks := found()) is None:
            file.parent.mkdir(parents=True, exist_ok=True)
            with locked(file.with_suffix(".lock")):
                if found() is None:
                    _write(file, build)
    except OSError as error:
        raise UserError(
            f"{what} cannot be written: {file.parent}: {error.strerror or error}",
            "choose another folder with data.cache=<folder>, or make room there",
        ) from error
    return blocks


def cached_array(file: Path, what: str, shape: tuple[int, ...], dtype: DTypeLike, fill: Fill) -> CachedArray:
    """The array in ``file``, computed where it is not there yet.

    Args:
        file: of the cache.
        what: the name of its content, for messages.
        shape: (n, …).
        dtype: of the numbers.
        fill: ``fill(array, begun, save)`` sets the rows from ``begun`` on of an array that is zero there. After
            ``save(rows)`` a computation that is killed goes on from so many finished rows, if they are as they were.

    Raises:
        UserError: as :func:`open_cache`.
    """
    dtype = np.dtype(dtype)
    per_block = _rows_per_block(shape, dtype)
    starts = np.append(np.arange(0, shape[0], per_block), shape[0])
    offsets = starts.astype(np.int64) * (math.prod(shape[1:]) * dtype.itemsize)
    size = int(offsets[-1])

    def build(part: Path) -> Notes:
        place = file.with_suffix(".place")
        sums = _begun(part, place, offsets, what)
        if not sums:
            part.unlink(missing_ok=True)
            check_room(part.parent, size, what)
            _reserve(part, size)
        array = np.memmap(part, dtype, "r+", shape=shape)
        begun = int(starts[len(sums)])
        if begun:
            array[begun:] = 0  # _reserve has written zeros otherwise

        def add_sums(rows: int) -> None:
            for first, after in zip(starts[len(sums) :].tolist(), starts[len(sums) + 1 :].tolist(), strict=False):
                if after > rows:
                    break
                sums.append(zlib.crc32(array[first:after].data))

        def save(rows: int) -> None:
            add_sums(rows)
            array.flush()
            with atomic(place) as place_part, place_part.open("wb") as opened:
                np.save(opened, np.array(sums, np.uint32), allow_pickle=False)

        fill(array, begun, save)
        add_sums(shape[0])
        array.flush()
        place.unlink(missing_ok=True)
        return {"offsets": offsets, "sums": np.array(sums, np.uint32)}

    return CachedArray(open_cache(file, what, build), shape, dtype)


def check_room(folder: Path, need: int, what: str) -> None:
    """Raise ``UserError`` unless the folder's disk has ``need`` free bytes."""
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{what}: {need / 1e9:.2g} GB are needed in {folder}, where {free / 1e9:.2g} GB are free",
            "make room, choose another folder with data.cache=<folder>, or cache nothing with data.cache=none",
        )


def _rows_per_block(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return max(1, BLOCK // max(1, math.prod(shape[1:]) * dtype.itemsize))


def _write(file: Path, build: Callable[[Path], Notes]) -> None:
    notes = file.with_suffix(".npz")
    part, note_part = part_of(file), part_of(notes)
    try:
        found = build(part)
        note_part.unlink(missing_ok=True)  # not written through, were it a link
        with note_part.open("wb") as opened:
            np.savez(opened, **found)
        notes.unlink(missing_ok=True)  # of what was there before, or for a moment they would speak of other bytes
        put({part: file, note_part: notes})
    except OSError:  # a full disk: a build that was killed can go on from its part, this one could not
        for path in (part, note_part, file.with_suffix(".place")):
            path.unlink(missing_ok=True)
        raise


def _begun(part: Path, place: Path, offsets: NDArray[np.int64], what: str) -> list[int]:
    """Checksums of the finished blocks of a ``part`` that a killed computation left, if they are unchanged."""
    if part.is_symlink() or not part.is_file() or not place.is_file():
        return []
    good: list[int] = []
    try:
        sums = np.load(place, allow_pickle=False).tolist()
        with part.open("rb") as opened:
            if os.fstat(opened.fileno()).st_size == offsets[-1] and len(sums) < len(offsets):
                for expected, size in zip(sums, np.diff(offsets).tolist(), strict=False):
                    if zlib.crc32(opened.read(size)) != expected:
                        break
                    good.append(expected)
        as_left = good == sums
    except (OSError, ValueError, TypeError, EOFError):  # broken notes are no notes
        as_left, good = False, []
    if not as_left:
        log.warning("%s: what was begun in %s has changed since, and is computed again", what, part)
    return good


def _reserve(path: Path, size: int) -> None:
    """Write a file of zeros that takes its room on the disk, so that writing to its mapping cannot fail later."""
    with path.open("xb") as opened:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(opened.fileno(), 0, size)
        else:
            for start in range(0, size, BLOCK):
                opened.write(bytes(min(BLOCK, size - start)))
