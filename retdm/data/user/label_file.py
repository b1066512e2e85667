"""What a user's own folder of images and a label file beside it have in common, whatever the label file's form."""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retdm.errors import UserError

log = logging.getLogger(__name__)


def user_files(root: str | None, labels: str) -> tuple[Path, Path]:
    """(folder of images, label file) from ``data.root`` and ``data.labels``. Raises ``UserError``.

    As a source's ``user_files`` it says which folders and files tell one run's data from another's.
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


def warn_of_one_class(names: list[str], targets: NDArray[np.uint8], known: NDArray[np.bool_], file: Path) -> None:
    """Log the labels of which nothing can be learned: all rows that are known say the same."""
    for value, what in ((1, "no image carries"), (0, "no image is known to lack")):
        columns = np.flatnonzero((known & (targets == value)).sum(0) == 0)
        if len(columns):
            listed = ", ".join(names[int(column)] for column in columns[:5]) + (", …" if len(columns) > 5 else "")
            log.warning("%s: %s: %s (%d of %d labels)", file.name, what, listed, len(columns), len(names))
