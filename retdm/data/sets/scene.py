"""Scene: 2,000 natural scenes with five labels (Zhou and Zhang, NIPS 2006; Zhou et al., Artificial Intelligence 2012).

Publisher's page: http://www.lamda.nju.edu.cn/data_MIMLimage.ashx
Archive (24.7 MB, a rar of two rars): http://www.lamda.nju.edu.cn/files/miml-image-data.rar
Licence: free for academic purposes, at one's own risk, with citation of the paper; other uses on request to Z.-H. Zhou.

Layout: ``<root>/scene/original/1.jpg … 2000.jpg`` and ``<root>/scene/processed/miml data.mat``, which holds ``targets``
(5 x 2,000 of +1 and -1, column i for image i+1), ``class_name`` and ``bags`` (nine patches of 15 numbers an image).

Counts: desert 409, mountains 458, sea 580, sunset 465, trees 560; 1.236 labels an image, 457 images with two or more,
none without; 20 distinct label sets. The publisher gives no split.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from retdm.data.download import obtain
from retdm.data.source import Counts, ImageFiles, data_root, fingerprint_of
from retdm.data.user.mat import read_mat
from retdm.errors import UserError

ADDRESS = "http://www.lamda.nju.edu.cn/files/miml-image-data.rar"
TARGETS = "processed/miml data.mat"


class Scene(ImageFiles):
    """The set as a ``Source``. Opening it checks it against ``counts`` and reads no pixels.

    Args:
        root: folder that holds ``scene/``; None is $RETDM_DATA, else ``data``.
        download: get the set where ``<root>/scene`` is not there.

    Raises:
        UserError: the set is absent, or is not what was published.
    """

    place = "scene"
    counts: ClassVar[Counts] = Counts(
        images=2000,
        labels={"desert": 409, "mountains": 458, "sea": 580, "sunset": 465, "trees": 560},
        label_sets=20,
    )

    def __init__(self, root: str | None = None, download: bool = False) -> None:
        self.folder = data_root(root) / self.place
        if download:
            places = {"original": "1.jpg", "processed": "miml data.mat"}
            obtain(self.folder, [ADDRESS], places, lambda folder: _checked(folder, self.counts))
        if not (self.folder / "original").is_dir() and not (self.folder / TARGETS).is_file():
            raise UserError(
                f"the Scene images are not in {self.folder.absolute()}",
                f"get them with data.download=true, or unpack {ADDRESS} there (original/1.jpg …, {TARGETS}); "
                "data.root or $RETDM_DATA names the folder above",
            )
        self.ids, self.names, self.targets = _checked(self.folder, self.counts)
        self.known = np.ones(self.targets.shape, bool)
        self.fingerprint = fingerprint_of("scene", self.folder, self.ids)


def _checked(folder: Path, counts: Counts) -> tuple[list[str], list[str], NDArray[np.uint8]]:
    """(ids, names, targets (n, L)) of a folder that is what was published, else ``UserError``."""
    ids = _images(folder / "original", counts.images)
    names, targets = read_targets(folder / TARGETS, counts)
    return ids, names, targets


def _images(folder: Path, expected: int) -> list[str]:
    found = {file.name for file in folder.glob("*") if file.suffix.lower() == ".jpg" and not file.name.startswith(".")}
    wanted = [f"{number}.jpg" for number in range(1, expected + 1)]
    stranger = min(found.difference(wanted), default=None)
    missing = next((name for name in wanted if name not in found), None)
    if missing or stranger:
        first = f"first missing: {missing}" if missing else f"first too many: {stranger}"
        raise UserError(
            f"{folder} has {len(found):,} images, expected {expected:,} (1.jpg to {expected}.jpg); {first}",
            f"unpack {ADDRESS} anew",
        )
    return [f"original/{name}" for name in wanted]


def read_targets(file: Path, counts: Counts) -> tuple[list[str], NDArray[np.uint8]]:
    """(names, targets (n, L)) of a file that is what was published, else ``UserError``."""

    def wrong(what: str, found: object, expected: object) -> UserError:
        return UserError(f"{file}: {what} {found}, expected {expected}", f"unpack {ADDRESS} anew")

    try:
        content = read_mat(file, "targets", "class_name")
        signs = np.asarray(content["targets"])
        names = [str(np.asarray(cell).item()).strip().lower() for cell in content["class_name"].ravel()]
    except Exception as error:  # scipy raises nearly anything on broken bytes
        raise UserError(f"{file} cannot be read: {error!r}", f"unpack {ADDRESS} anew") from error
    shape = (len(counts.labels), counts.images)
    if signs.shape != shape:
        raise wrong("targets are", "{} x {}".format(*signs.shape), "{} x {}".format(*shape))
    if names != list(counts.labels):
        raise wrong("labels are", names, list(counts.labels))
    if not np.isin(signs, (-1, 1)).all():
        raise wrong("targets hold", np.setdiff1d(signs, (-1, 1))[0], "only -1 and 1")
    targets = np.ascontiguousarray(signs.T == 1).astype(np.uint8)
    counts.check(targets, file, f"unpack {ADDRESS} anew")
    return names, targets
