"""Image files, read for a trained run; those that cannot be read are left out and told."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from retdm.data.images import UnreadableImage, read_image
from retdm.display.screen import track
from retdm.display.text import printable
from retdm.errors import UserError
from retdm.runs.trained.inputs import read_ahead
from retdm.runs.trained.model import Model
from retdm.runs.trained.views import Sees


class Unread(NamedTuple):
    """A file that cannot be read as an image, and why."""

    file: Path
    reason: str


class Read(NamedTuple):
    """An image.

    Attributes:
        file: its path.
        view: as the network takes it, see :meth:`retdm.runs.trained.model.Model.view`.
        thumbnail: JPEG; empty where none is wanted.
    """

    file: Path
    view: Tensor
    thumbnail: bytes


def batches_of(
    model: Sees,
    files: Sequence[Path],
    batch_size: int,
    title: str,
    unread: list[Unread],
    thumbnail: Callable[[Image.Image], bytes] = lambda image: b"",
) -> Iterator[list[Read]]:
    """The images in files, read ahead under a progress bar, in batches.

    Args:
        model: for which they are read.
        files: at least one.
        batch_size: of all batches but the last.
        title: of the bar.
        unread: gets the files that cannot be read.
        thumbnail: makes one of each image.

    Raises:
        UserError: none of the files can be read.
    """

    def read(file: Path) -> Read | Unread:
        try:
            image = read_image(file, model.value_range)
        except UnreadableImage as error:
            return Unread(file, error.message.removeprefix(f"{file} "))
        return Read(file, model.view(image), thumbnail(image))

    def readable() -> Iterator[Read]:
        for each in track(read_ahead(files, read, 2 * batch_size), title, len(files)):
            if isinstance(each, Read):
                yield each
            else:
                unread.append(each)

    rows = readable()
    while batch := list(islice(rows, batch_size)):
        yield batch
    if len(unread) == len(files):
        raise UserError(
            f"none of the {len(files):,} files can be read as an image; "
            f"first: {printable(unread[0].file)} {printable(unread[0].reason)}",
            "give image files, such as JPEG or PNG",
        )


def check_takes_images(model: Model) -> None:
    """Check that a run was trained on images.

    Raises:
        UserError: it was trained on bags.
    """
    if model.dim is not None:
        raise UserError(
            f"{printable(model.run.path)} was trained on bags of instances, not on images",
            'retdm.load("<run>").predict([array of (instances, features), …]) gives its scores',
        )
