"""What a set of images is to the rest of the program.

A published set is one file beside this one: it turns its publisher's layout into a ``Source`` and does nothing else.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retdm.errors import UserError


@runtime_checkable
class Source(Protocol):
    """n images with L labels each.

    Attributes:
        names: the L labels, in the order of the columns of ``targets``.
        ids: one readable name an image, the same on every machine (a path relative to the set's folder).
        targets: uint8 (n, L) of 0 and 1; 0 where unknown.
        known: bool (n, L); False where nobody said whether the image carries the label.
        split: (n,) of "train", "validation", "test" where the publisher gives one, else None.
        fingerprint: changes when the files change, not when the folder moves; caches are keyed by it.
    """

    names: list[str]
    ids: list[str]
    targets: NDArray[np.uint8]
    known: NDArray[np.bool_]
    split: NDArray[np.str_] | None
    fingerprint: str

    def __len__(self) -> int: ...

    def read(self, i: int) -> Image.Image:
        """Image i, mode RGB, upright. Raises ``UnreadableImage``."""
        ...


@runtime_checkable
class BagSource(Protocol):
    """n bags of instances with L labels each; a bag's instances have D features.

    Attributes:
        instances: float32 (sum of the bags' sizes, D), bag after bag.
        offsets: int64 (n + 1,); bag i is ``instances[offsets[i] : offsets[i + 1]]``, never empty.
        instance_targets: uint8 (sum of the bags' sizes, L) where the set says which instance carries a label, else
            None. For judging alone: no method sees it.
        names, ids, targets, known, split, fingerprint: as in ``Source``.
    """

    names: list[str]
    ids: list[str]
    instances: NDArray[np.float32]
    offsets: NDArray[np.int64]
    instance_targets: NDArray[np.uint8] | None
    targets: NDArray[np.uint8]
    known: NDArray[np.bool_]
    split: NDArray[np.str_] | None
    fingerprint: str

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Counts:
    """What a whole set has: images, images of each label (in the order of the columns), distinct label sets."""

    images: int
    labels: Mapping[str, int]
    label_sets: int

    def check(self, targets: NDArray[np.uint8], where: Path, hint: str) -> None:
        """Raise ``UserError`` unless ``targets`` (n, L), read from ``where``, have these counts of labels and sets."""
        for (label, expected), found in zip(self.labels.items(), targets.sum(axis=0, dtype=int).tolist(), strict=True):
            if found != expected:
                raise UserError(f"{where}: {found:,} images carry {label}, expected {expected:,}", hint)
        sets = len(np.unique(targets, axis=0))
        if sets != self.label_sets:
            raise UserError(f"{where}: distinct label sets are {sets:,}, expected {self.label_sets:,}", hint)


def data_root(root: str | None) -> Path:
    """The folder that holds the sets: ``root`` where given, else $RETDM_DATA, else ``data`` in the working folder."""
    return Path(root or os.environ.get("RETDM_DATA") or "data").expanduser()


def fingerprint_of(name: str, folder: Path, files: Iterable[str]) -> str:
    """``name`` and a hash over the files' relative paths and sizes, so that a copied or moved set is the same set."""
    digest = hashlib.sha256()
    for file in sorted(files):
        try:
            digest.update(f"{file}\0{os.stat(os.path.join(folder, file)).st_size}\n".encode())
        except OSError:  # a dangling link is a fault of one image, met when it is read
            digest.update(f"{file}\0unreadable\n".encode())
    return f"{name}-{digest.hexdigest()[:16]}"
