"""Landscapes drawn by the program, with the label sets of MIML Scene: data that needs no download.

Notation: S side of an image in pixels, L the five labels, n images.

Image i is a pure function of (seed, i): neither the number of images nor the order of reading changes it. With
``tiles`` an image is a mosaic of small scenes, as hard to learn from as its ``characteristics``.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from retdm.data.source import ImageSource
from retdm.data.synthetic.characteristics import Characteristics, arrange
from retdm.data.synthetic.label_sets import NAMES, draw_label_set, noisy
from retdm.data.synthetic.landscape import draw_scene
from retdm.data.synthetic.mosaic import mosaic
from retdm.errors import UserError
from retdm.ranges import AtLeast

VERSION = 1  # raise when a change alters any pixel: caches are keyed by it


class Synthetic(ImageSource):
    """A source of drawn landscapes, or of mosaics of them.

    Args:
        size: number of images n.
        seed: of the series of images; image i depends on (seed, i) alone.
        side: height and width S in pixels, at least 16 a tile.
        tiles: g draws g x g scenes an image; None draws one.
        characteristics: of :class:`Characteristics`, of mosaics; ``label_noise`` of any image.

    Attributes:
        true_targets: uint8 (n, L), the labels before ``label_noise``; the test split is evaluated by them.

    Raises:
        UserError: a characteristic is unknown or out of its range, or settings do not fit together.
    """

    knows_instances = True

    def __init__(
        self,
        size: Annotated[int, AtLeast(1)] = 2000,
        seed: Annotated[int, AtLeast(0)] = 0,
        side: Annotated[int, AtLeast(16)] = 64,
        tiles: Annotated[int, AtLeast(2)] | None = None,
        characteristics: Mapping[str, float] | None = None,
    ) -> None:
        if tiles is not None and side < 16 * tiles:
            raise UserError(f"data.side={side} is too small for data.tiles={tiles}", "a tile needs 16 pixels")
        self.hard = Characteristics.of(characteristics)
        if tiles is None and replace(self.hard, label_noise=0.0) != Characteristics():
            raise UserError(
                f"data.characteristics ({self.hard}) are those of mosaics, and data.tiles is null", "data.tiles=4"
            )
        self.size, self.seed, self.side, self.tiles = size, seed, side, tiles
        self.names = list(NAMES)
        self.ids = [f"{i:05d}" for i in range(size)]
        self.true_targets = np.stack([self._begin(i)[1] for i in range(size)])
        share = self.hard.label_noise
        self.targets = np.stack([noisy(labels, (seed, i), share) for i, labels in enumerate(self.true_targets)])
        self.known = np.ones_like(self.targets, dtype=bool)
        mosaic = "" if tiles is None else f"-{tiles}-{self.hard}"
        self.fingerprint = f"{type(self).__name__}-{VERSION}-{size}-{seed}-{side}{mosaic}"

    def read(self, i: int) -> Image.Image:
        """Image i, RGB, S x S."""
        return Image.fromarray(self._drawn(i)[0])

    def masks(self, i: int) -> NDArray[np.bool_]:
        """bool (L, S, S): where each label is visible in image i; empty for absent labels."""
        return self._drawn(i)[1]

    def _drawn(self, i: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        rng, labels = self._begin(i)
        if self.tiles is None:
            return draw_scene(rng, labels, self.side)
        return mosaic(rng, arrange(rng, labels, self.tiles**2, self.hard), self.side, self.hard.alike)

    def _begin(self, i: int) -> tuple[Generator, NDArray[np.uint8]]:
        """The generator of image i after its first draw, which is its label set."""
        if not 0 <= i < self.size:
            raise IndexError(f"image {i} of {self.size}")
        rng = np.random.default_rng((self.seed, i))
        return rng, draw_label_set(rng)
