"""COCO: everyday scenes with 80 kinds of things (Lin et al., ECCV 2014).

Publisher's page: https://cocodataset.org/#download
Annotations: http://images.cocodataset.org/annotations/annotations_trainval2014.zip (or 2017); images:
http://images.cocodataset.org/zips/train2014.zip (13 GB) and val2014.zip (6 GB).
Licence: the annotations CC BY 4.0; each image under its author's terms on Flickr.

Layout: ``<root>/coco/annotations/instances_{train,val}<year>.json``, the images in ``<root>/coco/{train,val}<year>/``.

An image has a label where it has at least one instance of it, crowds among them; the labels are the 80 categories in
the order of their ids. Images without any instance stay, with an empty label set.

=========  =======  =========  ==================
file       images   instances  images without one
=========  =======  =========  ==================
train2014   82,783    604,907                 702
val2014     40,504    291,875                 367
train2017  118,287    860,001               1,021
val2017      5,000     36,781                  48
=========  =======  =========  ==================

The publisher's split is kept where both files are there: val is the test split. The images of a single file are split
at random: to use the val images alone, put the other file elsewhere.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from retdm.data.source import ImageFiles, data_root, fingerprint_of
from retdm.data.user.coco_json import Labelled, read_coco
from retdm.errors import UserError

log = logging.getLogger(__name__)

ADDRESS = "http://images.cocodataset.org/annotations/annotations_trainval{year}.zip"
SPLITS = {"train": "train", "val": "test"}


@dataclass(frozen=True)
class Counts:
    """Numbers of a whole label file; ``unlabelled`` are images without an instance."""

    images: int
    instances: int
    unlabelled: int
    labels: int = 80


class Coco(ImageFiles):
    """The published set as a ``Source``. Opening it reads no pixels.

    Args:
        root: folder that holds ``coco/``; None is $RETDM_DATA, else ``data``.
        year: of the publication: 2014 has the split that papers on multi-label classification use, 2017 another one of
            the same images.

    Raises:
        UserError: the label files are absent, or one is not what was published (where ``counts`` has it).
    """

    place = "coco"
    counts: ClassVar[Mapping[str, Counts]] = {
        "train2014": Counts(82_783, 604_907, 702),
        "val2014": Counts(40_504, 291_875, 367),
        "train2017": Counts(118_287, 860_001, 1_021),
        "val2017": Counts(5_000, 36_781, 48),
    }

    def __init__(self, root: str | None = None, year: int = 2014) -> None:
        self.folder = data_root(root) / self.place
        files = _label_files(self.folder, year)
        found = {name: _checked(file, self.counts.get(f"{name}{year}"), year) for name, file in files.items()}
        self.names = next(iter(found.values())).names
        for name, labelled in found.items():
            if labelled.names != self.names:
                raise UserError(f"{files[name]} has other categories than {files['train'].name}", _anew(year))
        self.ids = [f"{name}{year}/{file}" for name, labelled in found.items() for file in labelled.files]
        self.targets: NDArray[np.uint8] = np.concatenate([labelled.targets for labelled in found.values()])
        self.known = np.ones(self.targets.shape, bool)
        if len(found) == len(SPLITS):
            self.split = np.repeat([SPLITS[name] for name in found], [len(each.files) for each in found.values()])
        else:
            log.info("%s is there alone: its images are split at random", *(file.name for file in files.values()))
        self.fingerprint = fingerprint_of(f"coco{year}", self.folder, self.ids)


def _counts(found: Labelled) -> Counts:
    images, labels = found.targets.shape
    return Counts(images, found.instances, images - int(found.targets.any(1).sum()), labels)


def _checked(file: Path, expected: Counts | None, year: int) -> Labelled:
    """The content of ``file``, once its counts are those that were published."""
    found = read_coco(file)
    counts = _counts(found)
    for what, count in vars(counts).items():
        if expected is not None and count != getattr(expected, what):
            what_it_is = "images without an instance" if what == "unlabelled" else what
            raise UserError(f"{file} has {count:,} {what_it_is}, expected {getattr(expected, what):,}", _anew(year))
    for name in found.files:  # in the file's own folder, which may itself be a link to a larger disk
        if PureWindowsPath(name).name != name or name in ("", ".."):
            raise UserError(f"{file}: file_name {name!r} is no plain file name", _anew(year))
    numbers = (f"{number:,}" for number in (counts.images, counts.instances, counts.unlabelled))
    log.info("%s: %s images, %s instances; %s images have none and stay", file.name, *numbers)
    return found


def _label_files(folder: Path, year: int) -> dict[str, Path]:
    """The label files that are there, by ``train`` and ``val``: both, or one."""
    wanted = {name: folder / "annotations" / f"instances_{name}{year}.json" for name in SPLITS}
    there = {name: file for name, file in wanted.items() if file.is_file()}
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
