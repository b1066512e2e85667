"""The user's own images with a label file beside them: the part that all formats of label files share."""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from retdm.data.images import checked_range
from retdm.data.source import ImageFiles, fingerprint_of
from retdm.data.user.image_names import ImageNames
from retdm.data.user.label_names import some
from retdm.errors import UserError

log = logging.getLogger(__name__)


class LabelledFolder(ImageFiles):
    """A folder of images and a label file; a format's reader sets ``ids``, ``names``, ``targets`` and ``known``.

    Args:
        root: folder of the images.
        labels: the label file, relative to ``root`` or absolute.
        value_range: the values that become black and white, in images of more than 8 bits; see
            :func:`retdm.data.images.read_image`.

    Attributes:
        file: the label file.

    Raises:
        UserError: ``root`` or ``labels`` is absent, or ``value_range`` is no range.
    """

    user_settings = ("root", "labels")

    def __init__(self, root: str | None, labels: str, value_range: Sequence[float] | None) -> None:
        self.folder, self.file = self.user_files(root, labels)
        self.value_range = checked_range(value_range)

    @staticmethod
    def user_files(root: str | None, labels: str) -> tuple[Path, Path]:
        """(folder of images, label file). Raises ``UserError``."""
        if root is None:
            raise UserError(
                "data.root is not set: this data is your own, and no other place is searched",
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

    def finish(self, name: str, form: str, images: ImageNames) -> None:
        """Log what was read and what may be a mistake.

        Args:
            name: of the format, which begins the fingerprint.
            form: of the labels in the file.
            images: the image files in the folder.
        """
        count = f"{len(self.ids):,}"
        log.info("%s: %s images; labels (%s): %s", self.file.name, count, form, some(self.names, 30))
        for value, what in ((1, "no image has"), (0, "no image is known not to have")):
            columns = np.flatnonzero((self.known & (self.targets == value)).sum(0) == 0)
            if len(columns):
                listed = some([self.names[column] for column in columns], 5)
                log.warning("%s: %s: %s (of %d labels)", self.file.name, what, listed, len(self.names))
        images.warn_of_unnamed(self.ids, self.file)
        self._format = name

    @cached_property
    def fingerprint(self) -> str:  # type: ignore[override]  # it reads all files, and counting images needs none
        return fingerprint_of(self._format, self.folder, self.ids, self.value_range)
