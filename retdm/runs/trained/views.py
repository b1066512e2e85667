"""Pictures as a network takes them."""

import os
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from retdm.data.augment import test_view
from retdm.data.images import Picture, Range, UnreadableImage, as_rgb, cached_side
from retdm.data.preparation import Preparation
from retdm.runs.trained.inputs import pictures, read_ahead


class Sees(Protocol):
    """What pictures are read for.

    Attributes:
        value_range: the values that are black and white in images of more than 8 bits, or None.
    """

    value_range: Range | None

    def view(self, image: Image.Image) -> Tensor:
        """An RGB image as the network takes it: uint8 (3, S, S). Several threads may call it."""


def view_of(image: Image.Image, size: int, preparation: Preparation) -> Tensor:
    """An RGB image as uint8 (3, size, size), by way of the square that a cache would hold."""
    square = preparation.cached(image, cached_side(size))
    return test_view(np.asarray(square), size, preparation)


def seen(
    by: Sees, given: Picture | Iterable[Picture], ahead: int, *, how_to_scale: str
) -> Iterator[tuple[str, Tensor]]:
    """Name and view of each of the given images.

    Args:
        by: for which they are read.
        given: see :func:`retdm.runs.trained.inputs.pictures`.
        ahead: images that are read before they are asked for, at most.
        how_to_scale: how to state the range of values that have none, in the words of an error's hint.

    Raises:
        UnreadableImage: one cannot be read.
    """

    def view(numbered: tuple[int, Picture]) -> tuple[str, Tensor]:
        number, picture = numbered
        name = str(picture) if isinstance(picture, str | os.PathLike) else f"image {number}"
        try:
            return name, by.view(as_rgb(picture, by.value_range, name))
        except UnreadableImage as error:
            hint = f"{how_to_scale}, or give 8-bit images" if error.kind == "unscaled" else "leave it out"
            raise UnreadableImage(error.message, hint, error.kind) from error

    return read_ahead(enumerate(pictures(given)), view, ahead)
