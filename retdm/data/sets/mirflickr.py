"""MIRFLICKR-25000: photographs from Flickr, annotated by hand (Huiskes and Lew, ACM MIR 2008).

Publisher's page: http://press.liacs.nl/mirflickr/
Archives: ``IMAGES`` (2.9 GB) and ``ANNOTATIONS`` below.
Licence: each image under its photographer's own Creative Commons licence, which the archive's ``meta`` folder lists;
photographers are to be credited. According to the publisher no licence precludes benchmarks.

Layout: ``<root>/mirflickr/im1.jpg … im25000.jpg``, as the archive of images unpacks in ``<root>`` (or one folder
deeper, in ``mirflickr/mirflickr/``), and the annotations ``<label>.txt`` and ``<label>_r1.txt``, an image's number a
line, in ``annotations/``, in ``mirflickr25k_annotations_v080/`` or beside the images.

24 *potential* labels (``<label>.txt``: the image shows it, if only in part) and, for 14 of them, the *relevant* ones
(``<label>_r1.txt``: it is what the image is about). 3.716 potential labels an image, 419 images without one, 2,880
distinct label sets; 1.000 relevant labels an image, 12,318 images without one, 136 distinct sets. Four images are
relevant for people and not potentially so. Images a label: ``MirFlickr.counts``. The publisher gives no split.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from retdm.data.download import obtain
from retdm.data.source import Counts, ImageFiles, data_root, fingerprint_of
from retdm.errors import UserError

IMAGES = "http://press.liacs.nl/mirflickr/mirflickr25k.v3b/mirflickr25k.zip"
ANNOTATIONS = "http://press.liacs.nl/mirflickr/mirflickr25k.v3b/mirflickr25k_annotations_v080.zip"
HINT = f"unpack {ANNOTATIONS} anew"
Kind = Literal["potential", "relevant"]
ENDINGS: dict[Kind, str] = {"potential": "", "relevant": "_r1"}  # of the annotations' names


class MirFlickr(ImageFiles):
    """The set as a ``Source``. Opening it checks the annotations against ``counts`` and reads no pixels.

    Args:
        root: folder that holds ``mirflickr/``; None is $RETDM_DATA, else ``data``.
        labels: the ``potential`` ones (24) or the ``relevant`` ones (14).
        download: get the set where ``<root>/mirflickr`` is absent or empty.

    Raises:
        UserError: the annotations are absent or not what was published.
    """

    place = "mirflickr"
    counts: ClassVar[Mapping[str, Counts]] = {
        "potential": Counts(
            images=25_000,
            labels={
                "animals": 3216,
                "baby": 259,
                "bird": 742,
                "car": 1177,
                "clouds": 3700,
                "dog": 684,
                "female": 6184,
                "flower": 1823,
                "food": 990,
                "indoor": 8313,
                "lake": 791,
                "male": 6081,
                "night": 2711,
                "people": 10373,
                "plant_life": 8763,
                "portrait": 3931,
                "river": 894,
                "sea": 1322,
                "sky": 7912,
                "structures": 9992,
                "sunset": 2135,
                "transport": 2895,
                "tree": 4683,
                "water": 3331,
            },
            label_sets=2880,
        ),
        "relevant": Counts(
            images=25_000,
            labels={
                "baby": 116,
                "bird": 484,
                "car": 380,
                "clouds": 1350,
                "dog": 590,
                "female": 3982,
                "flower": 1077,
                "male": 3647,
                "night": 669,
                "people": 7849,
                "portrait": 3829,
                "river": 149,
                "sea": 214,
                "tree": 668,
            },
            label_sets=136,
        ),
    }

    def __init__(self, root: str | None = None, labels: Kind = "potential", download: bool = False) -> None:
        counts = self.counts[labels]
        self.folder = data_root(root) / self.place
        if download:
            places = {".": "im1.jpg", "annotations": "baby_r1.txt"}
            obtain(self.folder, [IMAGES, ANNOTATIONS], places, lambda folder: _targets(folder, labels, counts))
        self.names = list(counts.labels)
        self.targets = _targets(self.folder, labels, counts)
        self.known = np.ones(self.targets.shape, bool)
        place = "mirflickr/" if (self.folder / "mirflickr").is_dir() else ""
        self.ids = [f"{place}im{number}.jpg" for number in range(1, counts.images + 1)]
        self.fingerprint = fingerprint_of("mirflickr", self.folder, self.ids)


def _targets(folder: Path, labels: Kind, counts: Counts) -> NDArray[np.uint8]:
    """(n, L) of annotations that are what was published, else ``UserError``."""
    files = [f"{label}{ENDINGS[labels]}.txt" for label in counts.labels]
    places = [folder / "annotations", folder / "mirflickr25k_annotations_v080", folder, folder / "mirflickr"]
    place = next((place for place in places if any((place / file).is_file() for file in files)), None)
    if place is None:
        raise UserError(
            f"the MIRFLICKR annotations ({files[0]}, …) are not in {(folder / 'annotations').absolute()}",
            f"get the set with data.download=true (2.9 GB), or unpack {IMAGES} and {ANNOTATIONS} there; "
            "data.root or $RETDM_DATA names the folder above",
        )
    targets = np.zeros((counts.images, len(files)), np.uint8)
    row_of = {str(number): number - 1 for number in range(1, counts.images + 1)}
    for column, file in enumerate(files):
        targets[_rows(place / file, row_of), column] = 1
    counts.check(targets, place, HINT)
    return targets


def _rows(file: Path, row_of: Mapping[str, int]) -> list[int]:
    """Rows of the images that an annotation names by their numbers."""
    try:
        lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}", HINT) from error
    strange = next((line for line in lines if line not in row_of), None)
    if strange is not None:
        place = f"{file}, line {lines.index(strange) + 1}"
        raise UserError(f"{place}: {strange[:40]!r} is no image's number (1 to {len(row_of)})", HINT)
    return [row_of[line] for line in lines]
