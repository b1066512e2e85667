"""Where a search looks: images with their embeddings. Notation: n images, D width of embeddings, L labels."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from retdm.data.images import read_image
from retdm.data.modules import ImageData
from retdm.display.screen import muted, track
from retdm.errors import UserError
from retdm.runs import build
from retdm.runs.folder.paths import check_split, read_config
from retdm.runs.folder.saved import settings_of_run, without_places
from retdm.runs.trained.image_files import Unread, batches_of
from retdm.runs.trained.model import Model
from retdm.training.inference import infer


class Searched(NamedTuple):
    """The images among which a search looks.

    Attributes:
        words: what they are.
        names: of the n images: their files, or their names in the data set.
        embeddings: float32 (n, D).
        picture: gives one of them by its place.
        targets: (n, L) the labels that each is known to have; None where nobody said.
        unread: files that could not be read.
    """

    words: str
    names: list[str]
    embeddings: NDArray[np.float32]
    picture: Callable[[int], Image.Image]
    targets: NDArray[np.uint8] | None = None
    unread: Sequence[Unread] = ()

    def nearest(self, point: NDArray[np.float32], most: int, without: Path | None = None) -> list[tuple[int, float]]:
        """Places and Euclidean distances of the images nearest to a point (D,), the nearest first.

        ``without`` is a file that is left out: an image does not find itself.
        """
        distance = distances(point, self.embeddings)
        order = [int(i) for i in np.argsort(distance, kind="stable")]
        if without is not None:
            same = without.resolve()
            order = [i for i in order[: most + 1] if self.targets is not None or Path(self.names[i]).resolve() != same]
        return [(i, float(distance[i])) for i in order[:most]]


def distances(point: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Euclidean distances (n,) of a point (D,) from others (n, D)."""
    found: NDArray[np.float64] = np.linalg.norm(others.astype(np.float64) - point, axis=1)
    return found


def searched_files(model: Model, files: Sequence[Path], batch_size: int) -> Searched:
    """Image files; those that cannot be read are left out.

    Raises:
        UserError: none of them can be read.
    """
    names: list[str] = []
    embeddings: list[np.ndarray] = []
    unread: list[Unread] = []
    for batch in batches_of(model, files, batch_size, "searching", unread):
        names += [str(each.file) for each in batch]
        embeddings.append(model.embeddings(torch.stack([each.view for each in batch])))

    def picture(i: int) -> Image.Image:
        return read_image(Path(names[i]), model.value_range)

    return Searched(f"{len(names):,} images", names, np.concatenate(embeddings), picture, unread=unread)


def own_test_split(model: Model, *, user_classes: bool) -> ImageData:
    """The data of the run, as its test split is needed.

    Raises:
        UserError: it is not there, or not what the run was trained on.
    """
    try:
        content = read_config(model.run)
        settings = settings_of_run(content, content["identity"], model.run.config, user_classes=user_classes)
        with muted("retdm", below=logging.ERROR):  # warnings about the data came when it was trained on
            data = build.build_data(settings.changed(data=without_places(settings.data)))
        check_split(model.run, data.manifest)
    except UserError as error:
        raise UserError(
            f"the run's own test images cannot be read: {error.message}", "images=<folder, file, glob, or list>"
        ) from error
    assert isinstance(data, ImageData)
    return data


def searched_data(model: Model, data: ImageData) -> Searched:
    """The test split of a run's data."""
    rows = data.rows_of("test")
    loader = data.views(rows, on_gpu=model.method.device.type == "cuda")
    batches = infer(model.method, track(loader, "searching", len(loader)), model.method.encoder)
    embeddings = torch.cat([vectors.float().cpu() for _, vectors in batches]).numpy()
    targets = data.source.targets[rows] * data.source.known[rows]

    def picture(i: int) -> Image.Image:
        return Image.fromarray(np.array(data.images[int(rows[i])]))

    names = [data.source.ids[i] for i in rows]
    return Searched(f"{len(rows):,} images of the run's test split", names, embeddings, picture, targets)
