"""The image cache: images decoded and resized once, in one memory-mapped file.

Up to ``limit`` gigabytes the file holds plain pixels, above it JPEG of quality 95: at 256 pixels the 123,287 images of
COCO would take 24 GB, and take a tenth of it. ``retdm cache`` lists and clears.
"""

import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from retdm.data.cached_array import Blocks, Notes, check_room, open_cache
from retdm.data.duplicates import NEAR_LIMIT, ImageSignature, Pairs, find_pairs, signature
from retdm.data.images import RANGE_HINT, SKIP_HINT, UnreadableImage
from retdm.data.preparation import WHOLE, Preparation
from retdm.data.source import ImageFiles, ImageSource, stamps_of
from retdm.display.screen import track
from retdm.errors import UserError
from retdm.stop import ignore_requests

VERSION = 4  # counts up when the same source and side would give other files
JPEG_QUALITY = 95
FAULTS = ("missing", "empty", "unscaled", "unreadable")  # kinds of images that cannot be read


class Fault(NamedTuple):
    """The reason why an image cannot be read; ``kind`` is one of ``FAULTS``."""

    kind: str
    message: str


@dataclass
class Scan:
    """The findings of reading all images of a set once.

    Attributes:
        faults: row -> why it cannot be read.
        pairs: rows that show the same picture.
    """

    faults: dict[int, Fault]
    pairs: Pairs

    def counts(self) -> dict[str, int]:
        """Images that cannot be read, of each kind: ``missing_images`` and so on."""
        kinds = [fault.kind for fault in self.faults.values()]
        return {f"{kind}_images": kinds.count(kind) for kind in FAULTS}

    def error(self, n: int) -> UserError:
        """The error of a set of ``n`` images, of which some cannot be read."""
        first = next(iter(self.faults.values()))
        hint = RANGE_HINT if first.kind == "unscaled" else SKIP_HINT
        if len(self.faults) == 1:
            return UserError(first.message, hint)
        kinds = ", ".join(f"{count:,} {name.removesuffix('_images')}" for name, count in self.counts().items() if count)
        many = f"{len(self.faults):,} of {n:,} images cannot be read ({kinds})"
        return UserError(f"{many}; the first: {first.message}", hint)


class CachedImages:
    """``images[i]`` is image i, uint8 (S, S, 3), read-only; black where it could not be read.

    Attributes:
        blocks: the bytes, a block an image.
        jpeg: they are JPEG, else plain pixels.
    """

    def __init__(self, blocks: Blocks, side: int) -> None:
        self.blocks, self.side, self.jpeg = blocks, side, blocks.file.suffix == ".jpeg"

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        content = self.blocks[row]
        if not content:
            return np.zeros((self.side, self.side, 3), np.uint8)
        if self.jpeg:
            return np.asarray(Image.open(io.BytesIO(content)))
        return np.frombuffer(content, np.uint8).reshape(self.side, self.side, 3)


class DecodedImages:
    """The same, decoded from the files at each reading: what ``data.cache=none`` gives."""

    def __init__(self, source: ImageSource, side: int, preparation: Preparation = WHOLE) -> None:
        self.source, self.side, self.preparation = source, side, preparation

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        """Image ``row`` as uint8 (side, side, 3). Raises ``UnreadableImage``."""
        return np.asarray(self.preparation.cached(self.source.read(row), self.side))


Known = dict[int, tuple[CachedImages, int]]  # row -> its place in an earlier cache


class _Row(NamedTuple):
    content: bytes
    sum: int
    signature: ImageSignature | None
    fault: Fault | None


class _Rows(Dataset[_Row]):
    """Every row of a source as it is stored; ``kind`` is pixels, jpeg or nothing, ``known`` rows need no decoding."""

    def __init__(self, images: DecodedImages, kind: str, known: Known) -> None:
        self.images, self.kind, self.known = images, kind, known

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> _Row:
        content = b""
        try:
            content, pixels = self._known(row)
        except (KeyError, UserError):  # it is in no earlier cache, or its bytes there have changed
            try:
                pixels = self.images[row]
            except UnreadableImage as error:
                return _Row(b"", 0, None, Fault(error.kind, error.message))
        if content:
            pass
        elif self.kind == "pixels":
            content = pixels.tobytes()
        elif self.kind == "jpeg":
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY)
            content = stream.getvalue()
        return _Row(content, zlib.crc32(content), signature(pixels, len(self) <= NEAR_LIMIT), None)

    def _known(self, row: int) -> tuple[bytes, NDArray[np.uint8]]:
        images, earlier = self.known[row]
        return bytes(images.blocks[earlier]), images[earlier]


def _read_all(images: DecodedImages, kind: str, known: Known) -> Iterator[_Row]:
    """Every image of a source once, in parallel, with a progress bar on a terminal."""
    rows = DataLoader(
        _Rows(images, kind, known),
        batch_size=16,
        num_workers=min(8, os.cpu_count() or 1),
        collate_fn=list,
        worker_init_fn=ignore_requests,
    )
    for batch in track(rows, f"reading {len(images):,} images, once"):
        yield from batch


def open_images(
    source: ImageSource,
    side: int,
    folder: Path | None,
    limit: float = 8.0,
    preparation: Preparation = WHOLE,
) -> tuple[CachedImages | DecodedImages, Scan]:
    """The images of ``source`` at ``side`` x ``side``, from ``folder`` or decoded now.

    Images that could not be read before are tried again, and the cache is built anew where one can be read now. A build
    takes over from caches beside it the rows whose files have not changed: one changed image costs one decoding.

    Args:
        source: where the images come from.
        side: of the squares in pixels.
        folder: of the cache; None keeps nothing: images are read once now for faults, and decoded at each reading.
        limit: gigabytes of pixels up to which the cache holds plain pixels.
        preparation: how an image becomes a square.

    Raises:
        UserError: the folder cannot be written, its disk is too small, or what lies there is damaged.
    """
    images = DecodedImages(source, side, preparation)
    if folder is None:
        return images, _scan_of(list(_read_all(images, "nothing", {})))
    size = len(source) * side * side * 3
    kind = "pixels" if size <= limit * 1e9 else "jpeg"
    other = [] if preparation == WHOLE else [preparation.filter.value, preparation.crop]
    made = [VERSION, side, *(source.value_range or ()), *other]
    key = sha256(json.dumps([VERSION, source.fingerprint, source.ids, side, kind, *other]).encode()).hexdigest()[:16]
    faults: dict[int, Fault] = {}

    def build(part: Path) -> Notes:
        check_room(part.parent, size if kind == "pixels" else size // 8, "the image cache")
        rows, sizes, stamps = [], [0], _stamps(source)
        known = _known(stamps, folder.glob(f"*.{kind}"), side, made)
        part.unlink(missing_ok=True)
        with part.open("wb") as opened:
            for row in _read_all(images, kind, known):
                opened.write(row.content)
                sizes.append(len(row.content))
                rows.append(row._replace(content=b""))
        found = _scan_of(rows)
        faults.clear()
        faults.update(found.faults)
        return {
            "offsets": np.cumsum(sizes, dtype=np.int64),
            "sums": np.array([row.sum for row in rows], np.uint32),
            "pairs": json.dumps(found.pairs),
            "stamps": stamps,
            "made": np.array(made, float),
        }

    def fresh(blocks: Blocks) -> bool:
        empty = np.flatnonzero(np.diff(blocks.offsets) == 0).tolist()
        if faults.keys() != set(empty):  # not those that a build has just found
            faults.clear()
            faults.update({row: fault for row in empty if (fault := _fault_of(source, row))})
        return len(faults) == len(empty)

    blocks = open_cache(folder / f"{key}.{kind}", "the image cache", build, fresh)
    try:
        pairs = json.loads(str(blocks.notes["pairs"]))
    except (KeyError, ValueError) as error:
        raise blocks.damaged(f"its notes: {error}") from error
    return CachedImages(blocks, side), Scan(faults, pairs)


def _stamps(source: ImageSource) -> NDArray[np.uint64]:
    """A hash of the file of each row, 0 where its pixels depend on more than its file."""
    read: Any = type(source).read
    if isinstance(source, ImageFiles) and read is ImageFiles.read:
        return stamps_of(source.folder, source.ids)
    return np.zeros(len(source), np.uint64)


def _known(stamps: NDArray[np.uint64], files: Iterable[Path], side: int, made: list[float]) -> Known:
    """The rows with these stamps that other caches of the same making have."""
    rows_of: dict[int, list[int]] = {}
    for row in np.flatnonzero(stamps).tolist():
        rows_of.setdefault(int(stamps[row]), []).append(row)
    known: Known = {}
    for file in files if rows_of else ():
        try:
            blocks = Blocks(file, "the image cache")
        except (OSError, UserError):  # a damaged one of another set, which that set reports
            continue
        images = CachedImages(blocks, side)
        if np.array_equal(blocks.notes.get("made", ()), made):
            for block in np.flatnonzero(np.diff(blocks.offsets)).tolist():
                for row in rows_of.get(int(blocks.notes["stamps"][block]), ()):
                    known[row] = images, block
    return known


def _fault_of(source: ImageSource, row: int) -> Fault | None:
    try:
        source.read(row)
    except UnreadableImage as error:
        return Fault(error.kind, error.message)
    return None


def _scan_of(rows: list[_Row]) -> Scan:
    faults = {row: each.fault for row, each in enumerate(rows) if each.fault}
    return Scan(faults, find_pairs([each.signature for each in rows]))
