"""The bags of Scene: 2,000 images as nine patches of 15 numbers each (Zhou and Zhang, NIPS 2006).

Where to get it, its labels and its licence: ``retdm/data/sets/scene.py``; only
``<root>/scene/processed/miml data.mat`` is read. A patch is the mean colour of a blob of 2 x 2
pixels of the shrunken image and the differences of its four neighbours from it (SBN of Maron and Ratan, ICML 1998).

In the published file the bags of images 1-400 and 801-1200 do not stand at their images' labels:
docs/explanation/scene-bags.md.
"""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from retdm.data.bag_source import BagArrays, stacked
from retdm.data.sets.scene import ADDRESS, TARGETS, Scene, read_targets
from retdm.data.source import Counts, data_root
from retdm.data.user.mat import read_mat
from retdm.errors import UserError

HINT = f"unpack {ADDRESS} anew"
PATCHES, FEATURES = 9, 15
SORTED_AS_TEXT = ((0, 400), (800, 1200))  # places of the bags that stand in the order of their images' file names


class SceneBags(BagArrays):
    """The set as a ``BagSource``; row i has the labels of image i + 1. Opening it checks it against ``counts``.

    Args:
        root: folder that holds ``scene/``; None is $RETDM_DATA, else ``data``.
        download: get the whole set, images and all, where it is not there.
        order: ``published``, as the papers used the file, or ``mended``, each image's own bag at its labels.

    Raises:
        UserError: the file is absent, or is not what was published.
    """

    place = Scene.place
    counts: ClassVar[Counts] = Scene.counts

    def __init__(
        self, root: str | None = None, download: bool = False, order: Literal["published", "mended"] = "published"
    ) -> None:
        file = data_root(root) / self.place / TARGETS
        if download and not file.exists():
            Scene(root, download=True)
        if not file.exists():
            raise UserError(
                f"the Scene bags are not in {file.absolute()}",
                f"get them with data.download=true, or unpack {ADDRESS} there; data.root or $RETDM_DATA names the "
                "folder that holds scene/",
            )
        names, targets = read_targets(file, self.counts)
        ids = [f"original/{i + 1}.jpg" for i in range(len(targets))]
        bags = _bags(file, len(targets))
        if order == "mended":
            bags = bags[bag_of_image(len(targets))]
        instances, offsets = stacked(bags, ids, file)
        super().__init__(
            "scene-bags", file, names=names, ids=ids, instances=instances, offsets=offsets, targets=targets
        )


def bag_of_image(n: int) -> NDArray[np.int64]:
    """The place in the published file of the bag of image i + 1, int64 (n,); a permutation."""
    place = np.arange(n)
    for start, stop in SORTED_AS_TEXT:
        block = range(start, min(stop, n))
        place[sorted(block, key=lambda i: f"{i + 1}.jpg")] = block
    return place


def _bags(file: Path, n: int) -> NDArray[np.object_]:
    try:
        bags: NDArray[np.object_] = read_mat(file, "bags")["bags"].ravel()
    except Exception as error:  # scipy raises nearly anything on broken bytes
        raise UserError(f"{file} cannot be read: {error!r}", HINT) from error
    if len(bags) != n:
        raise UserError(f"{file}: {len(bags):,} bags, expected {n:,}", HINT)
    for i, bag in enumerate(bags):
        if np.shape(bag) != (PATCHES, FEATURES):
            shape = " x ".join(map(str, np.shape(bag)))
            raise UserError(
                f"{file}: bag {i + 1} is {shape}, expected {PATCHES} x {FEATURES}", f"unpack {ADDRESS} anew"
            )
    return bags
