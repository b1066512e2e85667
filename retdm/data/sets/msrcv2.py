"""MSRC v2: 591 photographs with pixel-wise ground truth of 23 classes (Shotton et al., ECCV 2006).

Publisher's page: https://www.microsoft.com/en-us/research/project/image-understanding/
Archive: https://download.microsoft.com/download/3/3/9/339D8A24-47D7-412F-A1E8-1A415BC48A15/
msrc_objcategimagedatabase_v2.zip
Licence: Microsoft Research Digital Image License Agreement (in the archive): academic and other non-commercial use;
passed on only under the same agreement, with changed images labelled as such.

Layout: ``<root>/msrcv2/Images/<group>_<number>_s.bmp`` and ``GroundTruth/<group>_<number>_s_GT.bmp``, as the archive
unpacks; PNG is read as well, and JPEG for images. A pixel's label is its colour (``COLOURS``); black is void, pixels
that nobody labelled. An image has the labels of its pixels.

Counts: building 153, grass 213, tree 134, cow 45, horse 3, sheep 35, sky 158, mountain 25, aeroplane 30, water 75,
face 60, car 44, bicycle 32, flower 35, sign 31, bird 38, book 35, chair 30, road 151, cat 24, dog 30, body 68, boat 33;
2.508 labels an image, 143 distinct label sets, no image without a label. 9_10_s = 1_26_s and 9_15_s = 1_27_s pixel by
pixel. The publisher gives no split.
"""

import os
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retdm.data.download import obtain
from retdm.data.images import UnreadableImage, read_image
from retdm.data.source import Counts, ImageFiles, data_root, fingerprint_of
from retdm.errors import UserError

ADDRESS = (
    "https://download.microsoft.com/download/3/3/9/339D8A24-47D7-412F-A1E8-1A415BC48A15/"
    "msrc_objcategimagedatabase_v2.zip"
)
HINT = f"unpack {ADDRESS} anew"
VOID = (0, 0, 0)
CLASSES = {  # name: (colour, images that have it)
    "building": ((128, 0, 0), 153),
    "grass": ((0, 128, 0), 213),
    "tree": ((128, 128, 0), 134),
    "cow": ((0, 0, 128), 45),
    "horse": ((128, 0, 128), 3),
    "sheep": ((0, 128, 128), 35),
    "sky": ((128, 128, 128), 158),
    "mountain": ((64, 0, 0), 25),
    "aeroplane": ((192, 0, 0), 30),
    "water": ((64, 128, 0), 75),
    "face": ((192, 128, 0), 60),
    "car": ((64, 0, 128), 44),
    "bicycle": ((192, 0, 128), 32),
    "flower": ((64, 128, 128), 35),
    "sign": ((192, 128, 128), 31),
    "bird": ((0, 64, 0), 38),
    "book": ((128, 64, 0), 35),
    "chair": ((0, 192, 0), 30),
    "road": ((128, 64, 128), 151),
    "cat": ((0, 192, 128), 24),
    "dog": ((128, 192, 128), 30),
    "body": ((64, 64, 0), 68),
    "boat": ((192, 64, 0), 33),
}
COLOURS = {name: colour for name, (colour, _) in CLASSES.items()}
ONE_NUMBER = np.array((1 << 16, 1 << 8, 1), np.int32)  # by which red, green and blue become one


class MsrcV2(ImageFiles):
    """The set as a ``Source``. Opening it reads the ground truth and checks it against ``counts``.

    Args:
        root: folder that holds ``msrcv2/``; None is $RETDM_DATA, else ``data``.
        download: get the set where ``<root>/msrcv2`` is absent or empty.

    Raises:
        UserError: the set is absent, or is not what was published.
    """

    place = "msrcv2"
    has_void, knows_instances = True, True
    counts: ClassVar[Counts] = Counts(
        images=591,
        labels={name: count for name, (_, count) in CLASSES.items()},
        label_sets=143,
    )

    def __init__(self, root: str | None = None, download: bool = False) -> None:
        self.folder = data_root(root) / self.place
        if download:
            places = {".": "GroundTruth/1_1_s_GT.bmp"}
            obtain(self.folder, [ADDRESS], places, lambda folder: _checked(folder, self.counts))
        if not (self.folder / "GroundTruth").is_dir():
            raise UserError(
                f"the MSRC v2 images are not in {self.folder.absolute()} (no GroundTruth folder there)",
                f"get them with data.download=true, or unpack {ADDRESS} there (Images, GroundTruth); "
                "data.root or $RETDM_DATA names the folder above",
            )
        self.names = list(COLOURS)
        self.ids, self.truths, self.targets = _checked(self.folder, self.counts)
        self.known = np.ones(self.targets.shape, bool)
        self.fingerprint = fingerprint_of("msrcv2", self.folder, [*self.ids, *self.truths])

    def masks(self, i: int) -> NDArray[np.bool_]:
        """bool (L, H, W): where each label is in image i; void pixels are in none. Raises ``UserError``."""
        pixels = np.asarray(_truth(self.folder / self.truths[i]), np.int32) @ ONE_NUMBER
        colours = np.array(list(COLOURS.values())) @ ONE_NUMBER
        return np.asarray(pixels == colours[:, None, None])


def _checked(folder: Path, counts: Counts) -> tuple[list[str], list[str], NDArray[np.uint8]]:
    """(ids, ground truth files, targets (n, L)) of a folder that is what was published, else ``UserError``."""
    truths = _numbered(folder / "GroundTruth", r"_s_GT\.(bmp|png)")
    images = _numbered(folder / "Images", r"_s\.(bmp|jpe?g|png)")
    if len(truths) != counts.images:
        without = min(images.keys() - truths.keys(), default=None)
        first = f"; first image without one: {images[without]}" if without else ""
        raise UserError(
            f"{folder / 'GroundTruth'} has {len(truths):,} ground truths (…_s_GT.bmp or .png), "
            f"expected {counts.images:,}{first}",
            HINT,
        )
    numbers = sorted(truths)
    files = [f"GroundTruth/{truths[number]}" for number in numbers]
    targets = np.stack([_labels_in(folder / file) for file in files])
    counts.check(targets, folder / "GroundTruth", HINT)
    # An image that is not there keeps its published name, to be missed when it is read.
    return [f"Images/{images.get(number, '{}_{}_s.bmp'.format(*number))}" for number in numbers], files, targets


def _numbered(folder: Path, ending: str) -> dict[tuple[int, int], str]:
    """File names by (group, number): 3_12_s.bmp is (3, 12). Of an image's copies BMP stands before JPEG before PNG."""
    found = {}
    for name in sorted(os.listdir(folder), reverse=True) if folder.is_dir() else []:
        if match := re.fullmatch(rf"(\d+)_(\d+){ending}", name, re.IGNORECASE):
            found[int(match[1]), int(match[2])] = name
    return found


def _truth(file: Path) -> Image.Image:
    try:
        return read_image(file)
    except UnreadableImage as error:  # no image to be skipped: the labels are in there
        raise UserError(error.message, HINT) from error


def _labels_in(file: Path) -> NDArray[np.uint8]:
    """(L,) of 0 and 1: the labels whose colours are in a ground truth."""
    image = _truth(file)
    # Pillow counts up to 256 colours several times faster than NumPy sorts the pixels.
    counted = image.getcolors()
    found = [colour for _, colour in counted] if counted else np.unique(np.asarray(image).reshape(-1, 3), axis=0)
    colours = set(map(tuple, np.asarray(found).tolist()))
    if unknown := colours - {VOID, *COLOURS.values()}:
        raise UserError(f"{file}: colour {min(unknown)} is no label's ({len(unknown)} such colours)", HINT)
    return np.array([colour in colours for colour in COLOURS.values()], np.uint8)
