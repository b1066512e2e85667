"""What a user's own folder of images and a label file beside it have in common, whatever the label file's form."""

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from retdm.data.source import fingerprint_of
from retdm.errors import UserError
from retdm.text import printable

log = logging.getLogger(__name__)

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}  # of files that are taken for images


def own_files(root: str | None, labels: str) -> tuple[Path, Path]:
    """(folder of images, label file) from ``data.root`` and ``data.labels``. Raises ``UserError``.

    As a source's ``own_files`` it says which folders and files tell one run's data from another's.
    """
    if root is None:
        raise UserError(
            "data.root is not set: this data is your own, and no other place is looked in",
            f"data.root=<folder of your images> data.labels=<label file there>; data.labels is {labels} now",
        )
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise UserError(f"data.root={root} is no folder", "it is the folder of your images")
    file = folder / Path(labels).expanduser()
    if not file.is_file():
        alike = sorted(each.name for each in folder.glob(f"*{file.suffix}") if each.suffix)
        there = f"; there is: {', '.join(alike[:5])}" if alike else ""
        raise UserError(f"there is no {file}", f"data.labels names it, relative to data.root or absolute{there}")
    return folder, file


def inside(folder: Path, name: str, where: str) -> str:
    """The image ``name`` of a label file as a path relative to ``folder``, with slashes, ``./`` and ``//`` taken out.

    Args:
        folder: the folder of images.
        name: as the label file writes it; backslashes are read as slashes.
        where: the label file and the place in it, for the error.

    Raises:
        UserError: there is no name, or it leads out of ``folder``: absolute, through ``..``, or through a link.
    """
    path = PureWindowsPath(name)  # knows both slashes and drive letters
    plain = path.as_posix()
    if plain == "." or "\0" in name:
        raise UserError(f"{where}: {name!r} is no file name", "write the image's path, relative to data.root")
    if path.root or ".." in path.parts:
        raise UserError(f"{where}: {name!r} leads out of {folder}", "write the image's path, relative to data.root")
    if not Path(os.path.realpath(folder / plain)).is_relative_to(os.path.realpath(folder)):
        raise UserError(
            f"{where}: {name!r} is a link that leads out of {folder}",
            "copy the image into the folder, or set data.root to a folder that holds both",
        )
    return plain


def fingerprint_with_labels(
    kind: str,
    folder: Path,
    ids: list[str],
    names: list[str],
    targets: NDArray[np.uint8],
    known: NDArray[np.bool_],
) -> str:
    """As ``fingerprint_of`` over the images, and changed by their order, any label's name and any cell too."""
    digest = hashlib.sha256(json.dumps([ids, names]).encode())
    digest.update(np.packbits(targets).tobytes())
    digest.update(np.packbits(known).tobytes())
    return fingerprint_of(f"{kind}-{digest.hexdigest()[:16]}", folder, ids)


def warn_of_forgotten(folder: Path, ids: Iterable[str], file: Path) -> None:
    """Log how many images under ``folder`` the label ``file`` does not name."""
    named, forgotten = set(ids), []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(place, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                relative = path.relative_to(folder).as_posix()
                if relative not in named:
                    forgotten.append(relative)
    if forgotten:
        count, first = f"{len(forgotten):,}", printable(min(forgotten))
        log.warning("%s does not name %s images in %s (the first: %s): left out", file.name, count, folder, first)


def warn_of_one_class(names: list[str], targets: NDArray[np.uint8], known: NDArray[np.bool_], file: Path) -> None:
    """Log the labels of which nothing can be learned: all rows that are known say the same."""
    for value, what in ((1, "no image carries"), (0, "no image is known to lack")):
        columns = np.flatnonzero((known & (targets == value)).sum(0) == 0)
        if len(columns):
            listed = ", ".join(names[int(column)] for column in columns[:5]) + (", …" if len(columns) > 5 else "")
            log.warning("%s: %s: %s (%d of %d labels)", file.name, what, listed, len(columns), len(names))
