"""Preparation of images that depends on a backbone's weights: how a picture becomes a square of pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Preparation:
    """The way from a picture to the square that is cached, and from there to the network's.

    All by Pillow, whose integer arithmetic gives the same pixels on every machine, and is all that a user of an
    exported model needs: torchvision's differ from it, and between processors, by one of 255 here and there.

    Attributes:
        interpolation: by which images are resized, in Pillow's words: ``bilinear``, ``bicubic``, ``lanczos`` …
        crop: share of each side around the centre that is kept, above 0; 1 keeps the whole image.
    """

    interpolation: str = "bilinear"
    crop: float = 1.0

    @property
    def filter(self) -> Image.Resampling:
        """Pillow's filter of this name."""
        return Image.Resampling[self.interpolation.upper()]

    def cached(self, image: Image.Image, side: int) -> Image.Image:
        """A picture as the square that is cached: its ``crop``, both sides resized to ``side``."""
        image = self.shown(image)
        return image if image.size == (side, side) else image.resize((side, side), self.filter)

    def shown(self, image: Image.Image) -> Image.Image:
        """The part of a picture that the network sees."""
        return image if self.crop == 1 else image.crop(window(image.size, self.crop))

    def resized(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """A cached square (S, S, 3) uint8 as (size, size, 3)."""
        if image.shape[:2] == (size, size):
            return image
        return np.asarray(Image.fromarray(image).resize((size, size), self.filter))


WHOLE = Preparation()


def window(size: tuple[int, int], crop: float) -> tuple[int, int, int, int]:
    """The left, top, right and bottom of the share ``crop`` of each side around the centre; size is (width, height)."""
    margins = [round(side * (1 - crop) / 2) for side in size]
    return margins[0], margins[1], size[0] - margins[0], size[1] - margins[1]
