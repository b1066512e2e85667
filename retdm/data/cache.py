"""Images decoded and resized once, kept as one memory-mapped array."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from retdm.data.source import Source
from retdm.errors import UserError

VERSION = 1  # counts up when the same source and side would give other pixels


@dataclass
class CachedImages:
    """Decoded images (N, S, S, 3) uint8, and what could not be read: {row: message}; such rows are black."""

    pixels: np.ndarray
    faults: dict[int, str]
    key: str


class _Decoded(Dataset[tuple[np.ndarray, str]]):
    def __init__(self, source: Source, side: int) -> None:
        self.source, self.side = source, side

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> tuple[np.ndarray, str]:
        try:
            image = self.source.read(i)
        except UserError as error:
            return np.zeros((self.side, self.side, 3), np.uint8), error.message
        if image.size != (self.side, self.side):
            image = image.resize((self.side, self.side), Image.Resampling.BILINEAR)
        return np.asarray(image), ""


def open_cache(source: Source, side: int, folder: Path) -> CachedImages:
    """The images of ``source`` at ``side`` x ``side``, from ``folder`` or decoded now.

    Two processes may ask at once: one builds, the other waits. A build that was killed leaves only ``.part`` files.

    Raises:
        UserError: the folder cannot be written, its disk is too small, or what lies there is damaged.
    """
    key = hashlib.sha256(f"{VERSION}/{source.fingerprint}/{side}".encode()).hexdigest()[:16]
    pixels, notes = folder / f"{key}.uint8", folder / f"{key}.json"
    if not notes.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder / f"{key}.lock"):
                if not notes.exists():
                    _build(source, side, pixels, notes)
        except OSError as error:
            raise UserError(
                f"the image cache cannot be written: {folder}: {error.strerror or error}",
                "choose another folder with data.cache=<folder>, or make room there",
            ) from error
    shape = (len(source), side, side, 3)
    try:
        faults = {int(row): message for row, message in json.loads(notes.read_text())["faults"].items()}
        if pixels.stat().st_size != np.prod(shape):
            raise ValueError("its size is another")
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"the image cache {pixels} is damaged", f"delete {notes} and run again") from error
    return CachedImages(np.memmap(pixels, np.uint8, "r", shape=shape), faults, key)


def _build(source: Source, side: int, pixels: Path, notes: Path) -> None:
    need, free = len(source) * side * side * 3, shutil.disk_usage(pixels.parent).free
    if need > free:
        raise UserError(
            f"the image cache needs {need / 1e9:.1f} GB in {pixels.parent}, where {free / 1e9:.1f} GB are free",
            "choose another folder with data.cache=<folder>, or a smaller data.image_size",
        )
    decoder = DataLoader(
        _Decoded(source, side), batch_size=16, num_workers=min(8, os.cpu_count() or 1), collate_fn=list
    )
    faults: dict[int, str] = {}
    part, row = pixels.with_suffix(".part"), 0
    with part.open("wb") as file:
        for batch in track(decoder, f"decoding {len(source):,} images, once", transient=True):
            for image, message in batch:
                if message:
                    faults[row] = message
                file.write(np.ascontiguousarray(image).data)
                row += 1
        file.flush()
        os.fsync(file.fileno())
    part.replace(pixels)
    note_part = notes.with_suffix(".json.part")
    note_part.write_text(json.dumps({"faults": faults, "images": len(source), "side": side}))
    note_part.replace(notes)  # written last: its presence means finished


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for and hold a lock that dies with its process."""
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield
