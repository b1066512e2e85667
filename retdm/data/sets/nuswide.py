"""NUS-WIDE: 269,648 photographs from Flickr with 81 concepts (Chua et al., ACM CIVR 2009).

Publisher's page: https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html
Licence: each image under its photographer's Flickr licence. The publisher offers lists and ground truth on that page
and the images on request, with its Agreement and Disclaimer Form; so this program downloads nothing.

Layout, under ``<root>/nuswide``, as the publisher's archives unpack:

- ``ConceptsList/Concepts81.txt``: one concept a line;
- ``ImageList/TrainImagelist.txt``, ``TestImagelist.txt``: one image a line, ``actor\\0001_2124494179.jpg``;
- ``Groundtruth/TrainTestLabels/Labels_<concept>_Train.txt``, ``…_Test.txt``: 0 or 1 for each line of the list;
- ``Flickr/actor/0001_2124494179.jpg``: the images.

Counts: 161,789 images for training, 107,859 for testing, the publisher's split, which is kept. 209,347 of them have a
concept (125,449 and 83,898; many papers use those alone), about 1.9 an image, 2.4 where there is one. Subsets of the
published lists are taken as they are: concepts without ground truth are left out, and every file must have its list's
length.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retdm.data.source import ImageFiles, data_root, fingerprint_of
from retdm.errors import UserError

CONCEPTS = "ConceptsList/Concepts81.txt"
LISTS = {"train": "ImageList/TrainImagelist.txt", "test": "ImageList/TestImagelist.txt"}
TRUTHS = {
    "train": "Groundtruth/TrainTestLabels/Labels_{}_Train.txt",
    "test": "Groundtruth/TrainTestLabels/Labels_{}_Test.txt",
}
HINT = (
    "unpack the publisher's Groundtruth, ImageList and ConceptsList anew (retdm/data/sets/nuswide.py names the place)"
)


class NusWide(ImageFiles):
    """The set as a ``Source``. Opening it reads lists and ground truth and no pixels.

    Args:
        root: folder that holds ``nuswide/``; None is $RETDM_DATA, else ``data``.

    Raises:
        UserError: a list is absent, or the files do not fit each other.
    """

    place = "nuswide"

    def __init__(self, root: str | None = None) -> None:
        self.folder = data_root(root) / self.place
        if not self.folder.is_dir():
            raise UserError(
                f"NUS-WIDE is not in {self.folder.absolute()}",
                "put ConceptsList, ImageList, Groundtruth and Flickr there (see retdm/data/sets/nuswide.py); "
                "data.root or $RETDM_DATA names the folder above",
            )
        images = {split: _images(self.folder / file) for split, file in LISTS.items()}
        self.names = _concepts(self.folder)
        self.targets = np.concatenate(
            [
                np.stack([_truth(self.folder, split, name, len(images[split])) for name in self.names], axis=1)
                for split in LISTS
            ]
        )
        self.known = np.ones(self.targets.shape, bool)
        self.ids = [f"Flickr/{image}" for split in LISTS for image in images[split]]
        self.split = np.repeat(list(LISTS), [len(images[split]) for split in LISTS])
        self.fingerprint = fingerprint_of("nuswide", self.folder, self.ids)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}", HINT) from error


def _lines(file: Path) -> list[str]:
    """The lines of a list that are not empty."""
    return [stripped for line in _text(file).splitlines() if (stripped := line.strip())]


def _images(file: Path) -> list[str]:
    """Paths under ``Flickr`` with forward slashes."""
    images = [line.replace("\\", "/") for line in _lines(file)]
    for row, image in enumerate(images, 1):
        folders = image.split("/")
        if ".." in folders or not all(folders) or ":" in folders[0] or not image.isprintable():
            raise UserError(f"{file}, line {row}: {image!r} is no path inside Flickr", HINT)
    return images


def _concepts(folder: Path) -> list[str]:
    """The concepts of the list, in its order, that have ground truth."""
    listed = _lines(folder / CONCEPTS)
    found = [name for name in listed if any((folder / file.format(name)).is_file() for file in TRUTHS.values())]
    if not found:
        raise UserError(f"no concept of {folder / CONCEPTS} has a {folder / TRUTHS['train'].format('<concept>')}", HINT)
    return found


def _truth(folder: Path, split: str, concept: str, images: int) -> NDArray[np.uint8]:
    """The images of a split that show the concept, (n,) of 0 and 1."""
    file = folder / TRUTHS[split].format(concept)
    values = _text(file).split()  # 22 million of them in the whole set
    if len(values) != images:
        raise UserError(f"{file} has {len(values):,} lines, expected the {images:,} of {folder / LISTS[split]}", HINT)
    if strange := set(values) - {"0", "1"}:
        row = min(map(values.index, strange))
        raise UserError(f"{file}, line {row + 1}: {values[row][:40]!r} is neither 0 nor 1", HINT)
    return np.frombuffer("".join(values).encode(), np.uint8) - ord("0")
