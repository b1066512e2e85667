"""The bags of MSRC v2: 591 images as their segments, 48 numbers each, with the label of every segment.

The set of Briggs, Fern and Raich, "Rank-loss support instance machines for MIML instance annotation" (KDD 2012; with
Lou in ACM TKDD 7(3), 2013), whose sets were at http://web.engr.oregonstate.edu/~briggsf/kdd2012datasets/. The file read
here goes with code for Zhu, Ting and Zhou, "Discover multiple novel labels in multi-instance multi-label learning"
(AAAI 2017); a copy lies in https://github.com/shreyam4/SMAI-Project. No licence is stated; the images are Microsoft's,
for research.

Layout: ``<root>/bags/MSCV2.mat`` (spelt so) with cells ``BagArrays`` (segments x 48), ``y`` (segments x 23 of
-1 and 1, one label a segment) and ``Y`` (591 x 23 of -1 and 1). ``trnidx`` and ``tstidx``, one split of 532 and 59, are
not used.

Counts: 591 bags of 1 to 17 segments, 1,758 in all; 2.508 labels a bag. The file names neither labels nor images. The
labels stand in the order of MSRC's colour table and the bags in the order of the image files' names (``10_1.bmp``,
``10_10.bmp``, ``10_11.bmp``, …) sorted as text: so read, the label sets of all 591 images, taken from MSRC's ground
truth, equal ``Y`` row by row.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retdm.data.bag_source import BagArrays, stacked
from retdm.data.sets.msrcv2 import MsrcV2
from retdm.data.source import Counts, data_root
from retdm.data.user.mat import read_mat
from retdm.errors import UserError

FILE = "MSCV2.mat"
HINT = "get the file anew; retdm/data/sets/msrcv2_bags.py names the source"


class MSRCv2Bags(BagArrays):
    """The set as a ``BagSource`` that knows every instance's label; ids are MSRC's, such as ``10_1_s``.

    Args:
        root: folder that holds ``bags/``; None is $RETDM_DATA, else ``data``.

    Raises:
        UserError: the file is absent, or is not what was published.
    """

    place = "bags"
    counts: ClassVar[Counts] = MsrcV2.counts
    groups: ClassVar[Mapping[int, int]] = dict.fromkeys(range(1, 21), 30) | {10: 32, 12: 34, 15: 24, 20: 21}  # sizes
    segments: ClassVar[int] = 1758

    def __init__(self, root: str | None = None) -> None:
        file = data_root(root) / self.place / FILE
        if not file.exists():
            raise UserError(
                f"the MSRC v2 bags are not in {file.absolute()}",
                "put MSCV2.mat there (retdm/data/sets/msrcv2_bags.py names its source); data.root or $RETDM_DATA "
                "names the folder that holds bags/",
            )
        ids = _image_names(self.groups)
        bags, targets, instance_bags = _read(file)
        if not len(bags) == len(instance_bags) == len(ids):
            found = f"{len(bags):,} bags and {len(instance_bags):,} with instance labels"
            raise UserError(f"{file}: {found}, expected {len(ids):,}", HINT)
        instances, offsets = stacked(bags, ids, file)
        instance_targets, target_offsets = stacked(instance_bags, ids, file)
        if (differs := offsets != target_offsets).any():
            bag = ids[int(np.argmax(differs)) - 1]
            raise UserError(f"{file}: the rows of y of bag {bag} are not one an instance", HINT)
        super().__init__(
            "msrcv2-bags",
            file,
            names=list(self.counts.labels),
            ids=ids,
            instances=instances,
            offsets=offsets,
            targets=targets,
            instance_targets=instance_targets,
        )
        if len(instances) != self.segments:
            raise UserError(f"{file}: {len(instances):,} instances, expected {self.segments:,}", HINT)
        self.counts.check(self.targets, file, HINT)
        union = np.maximum.reduceat((instance_targets == 1).astype(np.uint8), offsets[:-1], axis=0)
        if (differs := (union != self.targets).any(axis=1)).any():
            bag = ids[int(np.argmax(differs))]
            raise UserError(f"{file}: the labels of bag {bag} are not those of its instances taken together", HINT)


def _image_names(groups: Mapping[int, int]) -> list[str]:
    """``10_1_s``, ``10_10_s``, ``10_11_s``, …: in the order of the files ``10_1.bmp``, … sorted as text."""
    files = sorted(f"{group}_{number}.bmp" for group, size in groups.items() for number in range(1, size + 1))
    return [file.replace(".bmp", "_s") for file in files]


def _read(file: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(cells of instances, bag labels, cells of instance labels)."""
    try:
        content = read_mat(file, "Bags", "Y", "y")
        return content["Bags"].ravel(), content["Y"], content["y"].ravel()
    except Exception as error:  # scipy raises nearly anything on broken bytes
        raise UserError(f"{file} cannot be read: {error!r}", HINT) from error
