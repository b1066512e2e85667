"""Images decoded and resized once, kept in one memory-mapped file.

Up to ``limit`` gigabytes the file holds plain pixels, above it JPEG of quality 95: at 256 pixels the 123,287 images of
COCO would take 24 GB, and take a tenth of it. ``python -m retdm.data.cache`` lists and clears.
"""

import hashlib
import io
import json
import mmap
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from retdm.data.images import UnreadableImage
from retdm.data.locked import locked
from retdm.data.pairs import NEAR_LIMIT, Look, Pairs, find_pairs, look
from retdm.data.source import Source
from retdm.errors import UserError
from retdm.screen import track
from retdm.stop import unheard

VERSION = 3  # counts up when the same source and side would give other files
JPEG_QUALITY = 95
CLEAR = "clear it with `python -m retdm.data.cache clear {}` and run again"


class Fault(NamedTuple):
    """Why an image is not there: ``kind`` is missing, empty, unscaled or unreadable."""

    kind: str
    message: str


@dataclass
class Scan:
    """What one look at all images of a set found.

    Attributes:
        faults: row -> why it cannot be read.
        pairs: rows that show the same picture.
    """

    faults: dict[int, Fault]
    pairs: Pairs


class CachedImages:
    """``images[i]`` is image i, uint8 (S, S, 3), read-only; black where it could not be read.

    A row is compared with its checksum when a process first reads it.

    Attributes:
        scan: what the look at all images found.
        file: of the pixels.
    """

    def __init__(self, file: Path, side: int, jpeg: bool, offsets: NDArray[np.int64], sums: NDArray[np.uint32]) -> None:
        self.file, self.side, self.jpeg, self.offsets, self.sums = file, side, jpeg, offsets, sums
        self._open()

    def _open(self) -> None:
        with self.file.open("rb") as opened:
            size = self.offsets[-1]
            self._bytes = memoryview(mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_READ) if size else b"")
        self._checked = np.zeros(len(self), bool)

    def __getstate__(self) -> dict[str, Any]:
        # A loading process maps the file anew; to send it the pixels would copy all of them.
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def __len__(self) -> int:
        return len(self.sums)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        content = self._bytes[self.offsets[row] : self.offsets[row + 1]]
        if not content:
            return np.zeros((self.side, self.side, 3), np.uint8)
        if not self._checked[row]:
            if zlib.crc32(content) != self.sums[row]:
                raise damaged(self.file, f"image {row} has another checksum")
            self._checked[row] = True
        if self.jpeg:
            return np.asarray(Image.open(io.BytesIO(content)))
        return np.frombuffer(content, np.uint8).reshape(self.side, self.side, 3)


class DecodedImages:
    """The same, decoded from the files at each reading: what ``data.cache=none`` gives."""

    def __init__(self, source: Source, side: int) -> None:
        self.source, self.side = source, side

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        return decoded(self.source, row, self.side)


def decoded(source: Source, row: int, side: int) -> NDArray[np.uint8]:
    """Image ``row`` as uint8 (side, side, 3). Raises ``UnreadableImage``."""
    image = source.read(row)
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)


class _Row(NamedTuple):
    content: bytes
    sum: int
    look: Look | None
    fault: Fault | None


class _Rows(Dataset[_Row]):
    """Every row of a source as it will be stored; ``kind`` is pixels, jpeg or nothing."""

    def __init__(self, source: Source, side: int, kind: str) -> None:
        self.source, self.side, self.kind = source, side, kind

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, row: int) -> _Row:
        try:
            pixels = decoded(self.source, row, self.side)
        except UnreadableImage as error:
            return _Row(b"", 0, None, Fault(error.kind, error.message))
        content = b""
        if self.kind == "pixels":
            content = pixels.tobytes()
        elif self.kind == "jpeg":
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY)
            content = stream.getvalue()
        return _Row(content, zlib.crc32(content), look(pixels, len(self) <= NEAR_LIMIT), None)


def _read_all(source: Source, side: int, kind: str) -> Iterator[_Row]:
    """Every image of a source once, in parallel, with a progress bar on a terminal."""
    rows = DataLoader(
        _Rows(source, side, kind),
        batch_size=16,
        num_workers=min(8, os.cpu_count() or 1),
        collate_fn=list,
        worker_init_fn=unheard,
    )
    for batch in track(rows, f"reading {len(source):,} images, once"):
        yield from batch


def open_images(
    source: Source, side: int, folder: Path | None, limit: float = 8.0
) -> tuple[CachedImages | DecodedImages, Scan]:
    """The images of ``source`` at ``side`` x ``side``, from ``folder`` or decoded now.

    Two processes may ask at once: one builds, the other waits. A build that was killed leaves only ``.part`` files.

    Args:
        source: where the images come from.
        side: of the squares in pixels.
        folder: of the cache; None keeps nothing: images are looked at now for faults, and decoded at each reading.
        limit: gigabytes of pixels up to which they are kept plain.

    Raises:
        UserError: the folder cannot be written, its disk is too small, or what lies there is damaged.
    """
    if folder is None:
        return DecodedImages(source, side), _scan_of(list(_read_all(source, side, "nothing")))
    size = len(source) * side * side * 3
    kind = "pixels" if size <= limit * 1e9 else "jpeg"
    key = hashlib.sha256(f"{VERSION}/{source.fingerprint}/{side}/{kind}".encode()).hexdigest()[:16]
    file, notes = folder / f"{key}.{kind}", folder / f"{key}.npz"
    if not notes.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / f"{key}.lock"):
                if not notes.exists():
                    _build(source, side, file, notes, size if kind == "pixels" else size // 8)
        except OSError as error:
            raise UserError(
                f"the image cache cannot be written: {folder}: {error.strerror or error}",
                "choose another folder with data.cache=<folder>, or make room there",
            ) from error
    return _open(file, notes, side, kind == "jpeg")


def _open(file: Path, notes: Path, side: int, jpeg: bool) -> tuple[CachedImages, Scan]:
    try:
        with np.load(notes, allow_pickle=False) as content:
            offsets, sums, found = content["offsets"], content["sums"], json.loads(str(content["scan"]))
        if file.stat().st_size != offsets[-1]:
            raise ValueError("its size is another")
        faults = {int(row): Fault(*fault) for row, fault in found["faults"].items()}
        return CachedImages(file, side, jpeg, offsets, sums), Scan(faults, found["pairs"])
    except Exception as error:  # NumPy and zipfile raise many kinds on broken bytes
        raise damaged(file, str(error)) from error


def _scan_of(rows: list[_Row]) -> Scan:
    faults = {row: each.fault for row, each in enumerate(rows) if each.fault}
    return Scan(faults, find_pairs([each.look for each in rows]))


def _build(source: Source, side: int, file: Path, notes: Path, need: int) -> None:
    free = shutil.disk_usage(file.parent).free
    if need > free:
        raise UserError(
            f"the image cache needs up to {need / 1e9:.1f} GB in {file.parent}, where {free / 1e9:.1f} GB are free",
            "choose another folder with data.cache=<folder>, a smaller data.image_size, or data.cache=none",
        )
    part, rows, sizes = file.with_name(file.name + ".part"), [], [0]
    with part.open("wb") as opened:
        for row in _read_all(source, side, file.suffix[1:]):
            opened.write(row.content)
            sizes.append(len(row.content))
            rows.append(row._replace(content=b""))
        opened.flush()
        os.fsync(opened.fileno())
    part.replace(file)
    found = _scan_of(rows)
    note_part = notes.with_name(notes.name + ".part")
    with note_part.open("wb") as opened:
        np.savez(
            opened,
            offsets=np.cumsum(sizes, dtype=np.int64),
            sums=np.array([row.sum for row in rows], np.uint32),
            scan=json.dumps({"faults": found.faults, "pairs": found.pairs}),
        )
    note_part.replace(notes)  # written last: its presence means finished


def damaged(file: Path, why: str) -> UserError:
    return UserError(f"the image cache {file} is damaged: {why}", CLEAR.format(file.parent))


def main(arguments: list[str]) -> int:
    """``python -m retdm.data.cache [clear] [folder]``: what a folder's caches take; with ``clear``, remove them."""
    clear = arguments[:1] == ["clear"]
    rest = arguments[clear:]
    if len(rest) > 1 or any(each.startswith("-") for each in rest):
        print("python -m retdm.data.cache [clear] [folder, outputs/cache if none is named]")
        return 0 if rest in (["-h"], ["--help"]) else 2
    folder = Path(rest[0] if rest else "outputs/cache")
    # Nothing but files that are named like caches: a wrong folder loses nothing.
    endings = (".pixels", ".jpeg", ".npz", ".features", ".distances", ".place", ".lock", ".part")
    found = [file for file in sorted(folder.glob("*")) if file.suffix in endings and _is_key(file.name.split(".")[0])]
    size = sum(file.stat().st_size for file in found)
    for file in found if clear else ():
        file.unlink()
    caches = len({file.name.split(".")[0] for file in found})
    print(f"{folder}: {caches} caches, {size / 1e6:,.0f} MB{', removed' if clear else ''}")
    return 0


def _is_key(name: str) -> bool:
    return len(name) == 16 and set(name) <= set("0123456789abcdef")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
