"""COCO: everyday scenes with 80 kinds of things (Lin et al., ECCV 2014), and your own images in COCO's format.

Publisher's page: https://cocodataset.org/#download
Annotations: http://images.cocodataset.org/annotations/annotations_trainval2014.zip (or 2017); images:
http://images.cocodataset.org/zips/train2014.zip (13 GB) and val2014.zip (6 GB).
Licence: the annotations CC BY 4.0; each image under its author's terms on Flickr.

Layout: ``<root>/coco/annotations/instances_{train,val}<year>.json``, the images in ``<root>/coco/{train,val}<year>/``.

An image carries a label where at least one instance of it is marked, crowds among them; the labels are the 80
categories in the order of their ids. Images without any instance stay, with an empty label set.

=========  =======  =========  ==================
part       images   instances  images without one
=========  =======  =========  ==================
train2014   82,783    604,907                 702
val2014     40,504    291,875                 367
train2017  118,287    860,001               1,021
val2017      5,000     36,781                  48
=========  =======  =========  ==================

The publisher's split is kept, val being the test part, where both files are there. Of a single file the images are cut
at random: to use the val images alone, put the other file elsewhere.
"""

import json
import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from retdm.data.images import checked_range
from retdm.data.source import ImageFiles, data_root, fingerprint_of
from retdm.data.user.image_names import ImageNames
from retdm.data.user.label_file import user_files, warn_of_one_class
from retdm.data.user.label_names import some, told_apart
from retdm.errors import UserError

log = logging.getLogger(__name__)

ADDRESS = "http://images.cocodataset.org/annotations/annotations_trainval{year}.zip"
PARTS = {"train": "train", "val": "test"}
ID = int | str
NEEDED: dict[str, dict[str, Any]] = {
    "images": {"id": ID, "file_name": str},
    "categories": {"id": int, "name": str},
    "annotations": {"image_id": ID, "category_id": int},
}
KEPT = {*NEEDED, *(key for keys in NEEDED.values() for key in keys)}
KINDS = {ID: "a number or text", int: "a whole number", str: "text"}


@dataclass(frozen=True)
class Counts:
    """What a whole file has; ``unlabelled`` are images without an instance."""

    images: int
    instances: int
    unlabelled: int
    labels: int = 80


@dataclass(frozen=True)
class Instances:
    """What of a COCO json tells which image carries which label.

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

    @property
    def counts(self) -> Counts:
        images, labels = self.targets.shape
        return Counts(images, self.instances, images - int(self.targets.any(1).sum()), labels)


class Coco(ImageFiles):
    """The published set as a ``Source``. Opening it reads no pixels.

    Args:
        root: folder that holds ``coco/``; None is $RETDM_DATA, else ``data``.
        year: of the publication: 2014 has the split that papers on multi-label classification use, 2017 another one of
            the same images.

    Raises:
        UserError: the label files are absent, or one is not what was published (where ``counts`` has it).
    """

    counts: ClassVar[Mapping[str, Counts]] = {
        "train2014": Counts(82_783, 604_907, 702),
        "val2014": Counts(40_504, 291_875, 367),
        "train2017": Counts(118_287, 860_001, 1_021),
        "val2017": Counts(5_000, 36_781, 48),
    }

    def __init__(self, root: str | None = None, year: int = 2014) -> None:
        self.folder = data_root(root) / "coco"
        files = _label_files(self.folder, year)
        found = {part: _checked(file, self.counts.get(f"{part}{year}"), year) for part, file in files.items()}
        self.names = next(iter(found.values())).names
        for part, labelled in found.items():
            if labelled.names != self.names:
                raise UserError(f"{files[part]} has other categories than {files['train'].name}", _anew(year))
        self.ids = [f"{part}{year}/{name}" for part, labelled in found.items() for name in labelled.files]
        self.targets: NDArray[np.uint8] = np.concatenate([labelled.targets for labelled in found.values()])
        self.known: NDArray[np.bool_] = np.ones(self.targets.shape, bool)
        self.split: NDArray[np.str_] | None = None
        if len(found) == len(PARTS):
            self.split = np.repeat([PARTS[part] for part in found], [len(each.files) for each in found.values()])
        else:
            log.info("%s is there alone: its images are cut at random", *(file.name for file in files.values()))
        self.fingerprint = fingerprint_of(f"coco{year}", self.folder, self.ids)


class CocoJson(ImageFiles):
    """Your own images with their labels in a COCO json, as a ``Source``.

    Needed in it: ``images`` (each with ``id`` and ``file_name``, relative to ``root`` or absolute and inside it),
    ``categories`` (``id``, ``name``) and ``annotations`` (``image_id``, ``category_id``). The labels are the categories
    in the order of their ids. An image without annotation carries none of them. Names of files and labels are read as
    in a table (``retdm.data.user.csv_labels``).

    Args:
        root: folder of the images.
        labels: the json, relative to ``root`` or absolute.
        value_range: the values that become black and white, in images of more than 8 bits; see
            :func:`retdm.data.images.read_image`.

    Raises:
        UserError: the json is absent, or something in it is wrong; the first such entry is named.
    """

    user_files = staticmethod(user_files)

    def __init__(
        self, root: str | None = None, labels: str = "labels.json", value_range: Sequence[float] | None = None
    ) -> None:
        self.folder, file = user_files(root, labels)
        self.value_range = checked_range(value_range)
        found = read_instances(file)
        self.names, self.targets = told_apart(found.names, file), found.targets
        self.known: NDArray[np.bool_] = np.ones(self.targets.shape, bool)
        self.split: NDArray[np.str_] | None = None
        images = ImageNames(self.folder)
        self.ids = images.resolve(found.files, lambda i: f"{file} images[{i}]", file)
        _refuse_twice(file, "file_name", self.ids)
        log.info("%s: %s images; labels (categories): %s", file.name, f"{len(self.ids):,}", some(self.names, 30))
        if found.counts.unlabelled:
            log.info("%s: %s images have no annotation and stay", file.name, f"{found.counts.unlabelled:,}")
        warn_of_one_class(self.names, self.targets, self.known, file)
        images.warn_of_forgotten(self.ids, file)
        self.fingerprint = fingerprint_of("coco_json", self.folder, self.ids, self.value_range)


def _checked(file: Path, expected: Counts | None, year: int) -> Instances:
    """What ``file`` says, after a look whether it is what was published."""
    found = read_instances(file)
    counts = found.counts
    for what, count in vars(counts).items():
        if expected is not None and count != getattr(expected, what):
            what_it_is = "images without an instance" if what == "unlabelled" else what
            raise UserError(f"{file} has {count:,} {what_it_is}, expected {getattr(expected, what):,}", _anew(year))
    for name in found.files:  # in the part's own folder, which may itself be a link to a larger disk
        if PureWindowsPath(name).name != name or name in ("", ".."):
            raise UserError(f"{file}: file_name {name!r} is no plain file name", _anew(year))
    numbers = (f"{number:,}" for number in (counts.images, counts.instances, counts.unlabelled))
    log.info("%s: %s images, %s instances; %s images have none and stay", file.name, *numbers)
    return found


def read_instances(file: Path) -> Instances:
    """Which image of a COCO json carries which category.

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
    return Instances(names, files, targets, len(annotations))


def _parsed(file: Path) -> dict[str, Any]:
    """The content of ``file`` less all keys that are not needed, outlines above all. They are dropped while it is
    parsed, which at 450 MB takes 0.9 GB of memory instead of 2.9."""
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


def _label_files(folder: Path, year: int) -> dict[str, Path]:
    """The files of instances that are there, by part: both, or one."""
    wanted = {part: folder / "annotations" / f"instances_{part}{year}.json" for part in PARTS}
    there = {part: file for part, file in wanted.items() if file.is_file()}
    if not there:
        others = sorted({file.stem[-4:] for file in wanted["val"].parent.glob("instances_*.json")})
        found = f"there are those of other years: data.year={' or '.join(others)}; " if others else ""
        raise UserError(
            f"the COCO labels of {year} are not in {wanted['train'].parent.absolute()} ({wanted['train'].name} …)",
            f"{found}unpack {ADDRESS.format(year=year)} in coco/, and the images in train{year}/ and val{year}/ there; "
            "data.root or $RETDM_DATA names the folder above coco/",
        )
    return there


def _anew(year: int | str) -> str:
    return f"unpack {ADDRESS.format(year=year)} anew"
