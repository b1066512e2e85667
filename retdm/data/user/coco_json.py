"""The user's own images with their labels in COCO's json format."""

import json
import logging
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from retdm.data.user.image_names import ImageNames
from retdm.data.user.label_file import LabelledFolder
from retdm.data.user.label_names import distinct
from retdm.errors import UserError

log = logging.getLogger(__name__)

ID = int | str
NEEDED: dict[str, dict[str, Any]] = {
    "images": {"id": ID, "file_name": str},
    "categories": {"id": int, "name": str},
    "annotations": {"image_id": ID, "category_id": int},
}
KEPT = {*NEEDED, *(key for keys in NEEDED.values() for key in keys)}
KINDS = {ID: "a number or text", int: "a whole number", str: "text"}


@dataclass(frozen=True)
class Labelled:
    """The images of a COCO json with their labels.

    Attributes:
        names: the L categories in the order of their ids.
        files: n names of image files, as they are written there.
        targets: uint8 (n, L); 1 where the image has at least one instance of the category.
        instances: how many there are in all.
    """

    names: list[str]
    files: list[str]
    targets: NDArray[np.uint8]
    instances: int


class CocoJson(LabelledFolder):
    """The images and labels of a COCO json as a ``Source``.

    Needed in it: ``images`` (each with ``id`` and ``file_name``, relative to ``root`` or absolute and inside it),
    ``categories`` (``id``, ``name``) and ``annotations`` (``image_id``, ``category_id``). The labels are the categories
    in the order of their ids. An image without annotation has none of them. Names of files and labels are read as
    in a table (``retdm.data.user.csv_labels``).

    Args:
        root, labels, value_range: see :class:`LabelledFolder`.

    Raises:
        UserError: the json is absent, or something in it is wrong; the first such entry is named.
    """

    def __init__(
        self, root: str | None = None, labels: str = "labels.json", value_range: Sequence[float] | None = None
    ) -> None:
        super().__init__(root, labels, value_range)
        file = self.file
        found = read_coco(file)
        self.names, self.targets = distinct(found.names, file), found.targets
        self.known = np.ones(self.targets.shape, bool)
        images = ImageNames(self.folder)
        self.ids = images.resolve(found.files, lambda i: f"{file} images[{i}]", file)
        _refuse_twice(file, "file_name", self.ids)
        self.finish("coco_json", "categories", images)
        if unlabelled := int((~self.targets.any(1)).sum()):
            log.info("%s: %s images have no annotation and stay", file.name, f"{unlabelled:,}")


def read_coco(file: Path) -> Labelled:
    """The images, categories and annotations of a COCO json.

    Raises:
        UserError: it is no json, a key is missing or of another kind, an id or a name stands there twice, or an
            annotation is of no image or category.
    """
    content = _parsed(file)
    images, categories, annotations = (_entries(file, content, key) for key in ("images", "categories", "annotations"))
    categories = sorted(categories, key=lambda entry: entry["id"])
    for what, entries, key in (
        ("image id", images, "id"),
        ("file_name", images, "file_name"),
        ("category id", categories, "id"),
        ("category name", categories, "name"),
    ):
        _refuse_twice(file, what, (entry[key] for entry in entries))
    row_of = {entry["id"]: row for row, entry in enumerate(images)}
    column_of = {entry["id"]: column for column, entry in enumerate(categories)}
    targets = np.zeros((len(images), len(categories)), np.uint8)
    rows = [row_of.get(entry["image_id"]) for entry in annotations]
    columns = [column_of.get(entry["category_id"]) for entry in annotations]
    for key, among, ids, found in (
        ("image_id", "images", row_of, rows),
        ("category_id", "categories", column_of, columns),
    ):
        if None in found:
            place = found.index(None)
            value = annotations[place][key]
            other = next((each for each in ids if str(each) == str(value)), None)
            raise UserError(
                f"{file}: annotations[{place}] has {key} {value!r}, which is not among the {among}",
                f"add it to {among}, or take the annotation out" if other is None else f"there it is written {other!r}",
            )
    targets[np.array(rows, int), np.array(columns, int)] = 1
    names, files = [entry["name"] for entry in categories], [entry["file_name"] for entry in images]
    return Labelled(names, files, targets, len(annotations))


def _parsed(file: Path) -> dict[str, Any]:
    """The content of ``file`` without the keys that are not needed, outlines above all.

    They are dropped while it is parsed, which at 450 MB takes 0.9 GB of memory instead of 2.9.
    """
    try:
        with file.open(encoding="utf-8-sig") as opened:
            content = json.load(opened, object_hook=lambda entry: {key: entry[key] for key in entry if key in KEPT})
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{file} cannot be read as json: {reason}", "save or download it anew") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is no COCO json: a {type(content).__name__} at its top", f"needed: {_needed()}")
    return content


def _entries(file: Path, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """``content[key]``, a list of objects that have what is needed of them."""
    entries = content.get(key)
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{file} has no {key}, or no list of them, or an empty one", f"needed: {_needed()}")
    for name, kind in NEEDED[key].items():
        types = set(get_args(kind) or (kind,))
        if {type(entry.get(name)) if isinstance(entry, dict) else None for entry in entries} <= types:
            continue
        for place, entry in enumerate(entries):
            value = entry.get(name) if isinstance(entry, dict) else None
            if value is None:
                raise UserError(f"{file}: {key}[{place}] has no {name}", f"needed: {_needed()}")
            if type(value) not in types:
                raise UserError(
                    f"{file}: {key}[{place}] has {name} {ascii(value)[:40]}, expected {KINDS[kind]}",
                    f"needed: {_needed()}",
                )
    return entries


def _needed() -> str:
    return ", ".join(f"{key} ({' and '.join(names)} each)" for key, names in NEEDED.items())


def _refuse_twice(file: Path, what: str, values: Iterable[Hashable]) -> None:
    seen: set[Hashable] = set()
    for value in values:
        if value in seen:
            raise UserError(f"{file} has the {what} {value!r} twice", "keep one of them, or give the other its own")
        seen.add(value)
