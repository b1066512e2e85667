"""Views of a cached image: the paper's five-place, four-size crops for training, the whole image for the rest."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as transform

# RETDM section III: images are resized to 256, cropped at four corners and the centre, the crops brought to 224. The
# sizes are those of temporal segment networks ([53] there): 256, 224, 192, 168 of a side of 256, kept as fractions so
# that other image sizes see the same windows.
CROP_FRACTIONS = (1.0, 224 / 256, 192 / 256, 168 / 256)


def cached_side(image_size: int) -> int:
    """Side of the cached square for images of ``image_size``: 8/7 of it, as 256 is to 224."""
    return round(image_size * 8 / 7)


def crop_window(generator: np.random.Generator, side: int) -> tuple[int, int, int, int]:
    """One random window (top, left, height, width) of a square of ``side``.

    It sits at a corner or the centre; its height and width are equal or neighbours in the list of sizes, so that
    shapes change by at most a quarter.
    """
    height = int(generator.integers(len(CROP_FRACTIONS)))
    neighbours = [w for w in (height - 1, height, height + 1) if 0 <= w < len(CROP_FRACTIONS)]
    width = neighbours[int(generator.integers(len(neighbours)))]
    h, w = round(side * CROP_FRACTIONS[height]), round(side * CROP_FRACTIONS[width])
    place = int(generator.integers(5))
    top, left = [(0, 0), (0, side - w), (side - h, 0), (side - h, side - w), ((side - h) // 2, (side - w) // 2)][place]
    return top, left, h, w


def train_view(image: np.ndarray, size: int, seed: int, epoch: int, index: int) -> Tensor:
    """A random crop and flip of a cached image (S, S, 3) uint8, as uint8 (3, size, size).

    The draw is a function of (seed, epoch, index) alone, so workers, processes and resumed runs agree.
    """
    generator = np.random.default_rng((seed, epoch, index))
    top, left, height, width = crop_window(generator, image.shape[0])
    window = image[top : top + height, left : left + width]
    if generator.random() < 0.5:
        window = window[:, ::-1]
    return _resized(window, size)


def test_view(image: np.ndarray, size: int) -> Tensor:
    """The whole cached image (S, S, 3) uint8 as uint8 (3, size, size).

    By Pillow, whose integer arithmetic gives the same pixels on every machine, and is all that a user of an exported
    model needs: torchvision's differ from it, and between processors, by one of 255 here and there.
    """
    if image.shape[:2] != (size, size):
        image = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _resized(window: np.ndarray, size: int) -> Tensor:
    pixels = torch.from_numpy(np.array(window)).permute(2, 0, 1)
    resized: Tensor = transform.resize(pixels, [size, size], antialias=True)
    return resized
