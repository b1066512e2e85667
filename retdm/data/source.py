"""Sources: what a data set is to the rest of the program.

A published set is one file in ``sets``, a format of the user's own files one in ``user``: each turns its layout into a
``Source`` and does nothing else.
"""

import hashlib
import json
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retdm.batch import BagBatch, Batch
from retdm.data.images import Range, read_image
from retdm.errors import UserError

COMPRESSED = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2")
PIECES, PIECE = 16, 2048  # of a large compressed file that are hashed, and bytes of each


class Source(ABC):
    """n rows with L labels each. Its two kinds are :class:`ImageSource` and :class:`BagSource`.

    Attributes:
        names: the L labels, in the order of the columns of ``targets``.
        ids: one readable name a row, the same on every machine (a path relative to the set's folder).
        targets: uint8 (n, L) of 0 and 1; 0 where unknown.
        known: bool (n, L); False where nobody said whether the row has the label.
        split: (n,) of "train", "validation", "test" where the publisher gives one, else None.
        group_of: int64 (n,), the number of each row's group, which stays in one split (a patient's), else None.
        fingerprint: changes when a row's content changes, not when the folder moves; caches are keyed by it.
        true_targets: ``targets`` without the noise that was put in on purpose, for the test split; None without noise.
        unknown_by_row: of a row all cells are unknown or none.
        knows_instances: the labels of instances (or of an image's pixels) are known, for evaluation alone.
        gives: the kind of batches that its rows make.
        user_settings: settings of the constructor that name the user's own files; none for a published set.
        place: the folder of a published set below :func:`data_root`.
    """

    names: list[str]
    ids: list[str]
    targets: NDArray[np.uint8]
    known: NDArray[np.bool_]
    split: NDArray[np.str_] | None = None
    group_of: NDArray[np.int64] | None = None
    fingerprint: str
    true_targets: NDArray[np.uint8] | None = None
    unknown_by_row: bool = False
    knows_instances: bool = False
    gives: ClassVar[type[Batch] | type[BagBatch]]
    user_settings: ClassVar[tuple[str, ...]] = ()
    place: ClassVar[str] = ""

    def __len__(self) -> int:
        return len(self.ids)

    @staticmethod
    def user_files(*named: Any) -> tuple[Path, ...]:
        """The files and folders that the values of ``user_settings`` name; by them runs on different data differ."""
        return ()


class ImageSource(Source):
    """n images with L labels each.

    Attributes:
        value_range: the values that become black and white, see :func:`retdm.data.images.read_image`.
        has_void: pixels that no mask covers are unlabelled, else they are of no label.
    """

    gives = Batch
    value_range: Range | None = None
    has_void: ClassVar[bool] = False

    @abstractmethod
    def read(self, i: int) -> Image.Image:
        """Image i, mode RGB, upright. Raises ``UnreadableImage``."""

    def masks(self, i: int) -> NDArray[np.bool_]:
        """bool (L, H, W): where each label is in image i; for sources with ``knows_instances``."""
        raise NotImplementedError


class BagSource(Source):
    """n bags of instances with L labels each; an instance has D features.

    Attributes:
        instances: float32 (sum of the bags' sizes, D), bag after bag.
        offsets: int64 (n + 1,); bag i is ``instances[offsets[i] : offsets[i + 1]]``, never empty.
        instance_targets: uint8 (sum of the bags' sizes, L) where the labels of instances are known, else None. For
            evaluation alone: no method sees it.
    """

    gives = BagBatch
    instances: NDArray[np.float32]
    offsets: NDArray[np.int64]
    instance_targets: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Counts:
    """Numbers of a whole set: images, images with each label (in the order of the columns), distinct label sets."""

    images: int
    labels: Mapping[str, int]
    label_sets: int

    def check(self, targets: NDArray[np.uint8], where: Path, hint: str) -> None:
        """Raise ``UserError`` unless ``targets`` (n, L), read from ``where``, have these counts of labels and sets."""
        for (label, expected), found in zip(self.labels.items(), targets.sum(axis=0, dtype=int).tolist(), strict=True):
            if found != expected:
                raise UserError(f"{where}: {found:,} images have {label}, expected {expected:,}", hint)
        sets = len(np.unique(targets, axis=0))
        if sets != self.label_sets:
            raise UserError(f"{where}: distinct label sets are {sets:,}, expected {self.label_sets:,}", hint)


def data_root(root: str | None) -> Path:
    """The folder that holds the sets: ``root`` where given, else $RETDM_DATA, else ``data`` in the working folder."""
    return Path(root or os.environ.get("RETDM_DATA") or "data").expanduser()


def fingerprint_of(name: str, folder: Path, files: Iterable[str], value_range: Range | None = None) -> str:
    """``name`` and a hash over the files' relative paths, order and contents: a copied or moved set is the same set.

    Args:
        name: of the set.
        folder: of the files.
        files: relative to it, those of the rows first.
        value_range: by which the images are read, see :class:`ImageFiles`.
    """
    files = list(files)
    digest = hashlib.sha256("\0".join([str(value_range), *files]).encode("utf-8", "surrogateescape"))
    digest.update(stamps_of(folder, files).tobytes())
    return f"{name}-{digest.hexdigest()[:16]}"


def stamps_of(folder: Path, files: Sequence[str]) -> NDArray[np.uint64]:
    """A hash of each file's content, uint64 (n,); 0 where there is no such file, or it may not be read.

    Files are hashed whole, but for images in a compressed format above 32 kB: there a change of the picture moves or
    changes what follows, and their size and 16 pieces, spread evenly from the first byte to the last, are hashed.
    """

    def stamps(some: Sequence[str]) -> list[int]:
        return [_stamp(os.path.join(folder, file)) for file in some]

    with ThreadPoolExecutor(8) as pool:  # which mostly wait for a disk or a network
        blocks = pool.map(stamps, (files[start : start + 256] for start in range(0, len(files), 256)))
        return np.array([stamp for block in blocks for stamp in block], np.uint64)


def _stamp(path: str) -> int:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would be waited for
    except (OSError, ValueError):  # reported when that image is read
        return 0
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            return 0
        size = status.st_size
        digest = hashlib.sha256(size.to_bytes(8, "little"))
        if size > PIECES * PIECE and path.lower().endswith(COMPRESSED):
            starts = [(size - PIECE) * piece // (PIECES - 1) for piece in range(PIECES)]
            digest.update(b"".join([os.pread(file, PIECE, start) for start in starts]))
        else:
            while content := os.read(file, 2**20):
                digest.update(content)
        return int.from_bytes(digest.digest()[:8], "little")
    except OSError:
        return 0
    finally:
        os.close(file)


def state_of(source: Source) -> dict[str, str]:
    """The state of a run's data: ``fingerprint``, and ``labels``, a hash over names, rows and cells."""
    digest = hashlib.sha256(json.dumps([source.names, source.ids]).encode())
    instance_targets = source.instance_targets if isinstance(source, BagSource) else None
    for cells in (np.where(source.known, source.targets, 0), source.known, instance_targets):
        if cells is not None:
            digest.update(np.packbits(cells.astype(bool)).tobytes())
    return {"fingerprint": source.fingerprint, "labels": digest.hexdigest()[:16]}


class ImageFiles(ImageSource):
    """A source whose rows are image files: ``ids`` are their paths relative to ``folder``."""

    folder: Path

    def read(self, i: int) -> Image.Image:
        """Image i, mode RGB, upright. Raises ``UnreadableImage``."""
        return read_image(self.folder / self.ids[i], self.value_range)
