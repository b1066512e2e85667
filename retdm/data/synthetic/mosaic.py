"""Mosaics of small scenes, each an instance of at most one label. Notation: S side in pixels, L the five labels.

A context instance is stripes of the label's own slant, a distractor is the label's scene upside down, and alike
instances have a cast of colour in common.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from retdm.data.synthetic.canvas import DUSK, GREEN, PALE, ROCK, SAND, SNOW, mix, pick, step
from retdm.data.synthetic.characteristics import Kind, Places
from retdm.data.synthetic.label_sets import NAMES
from retdm.data.synthetic.landscape import draw_scene


def _stripes(rng: Generator, label: int, side: int) -> NDArray[np.uint8]:
    """The context instance of a label: stripes of its own slant in any two colours, (S, S, 3)."""
    angle = np.pi * label / len(NAMES)
    x = np.arange(side) / side
    run = x[None, :] * np.cos(angle) + x[:, None] * np.sin(angle)
    share = step(np.sin(2 * np.pi * (rng.uniform(2.5, 4) * run + rng.random())), -0.3, 0.3)[..., None]
    one, other = pick(rng, DUSK, ROCK, GREEN), pick(rng, PALE, SAND, SNOW)
    return (np.clip(mix(one, other, share), 0, 1) * 255 + 0.5).astype(np.uint8)


def mosaic(rng: Generator, places: Places, side: int, alike: float) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pixels (S, S, 3) of a square grid of scenes, and where each label is visible (L, S, S)."""
    grid = round(len(places.kind) ** 0.5)
    edges = np.arange(grid + 1) * side // grid
    pixels = np.zeros((side, side, 3), np.uint8)
    visible = np.zeros((len(NAMES), side, side), bool)
    tile = -(-side // grid)
    # Each tile has a generator, so that no tile's drawing changes another's.
    for at, generator in enumerate(rng.spawn(grid**2)):
        kind, label = places.kind[at], places.label[at]
        if kind == Kind.CONTEXT:
            drawn, mask = _stripes(generator, int(label), tile), np.ones((tile, tile), bool)
        else:
            labels = np.zeros(len(NAMES), np.uint8)
            labels[label] = kind != Kind.BACKGROUND
            drawn, masks = draw_scene(generator, labels, tile)
            mask = masks[label]
            if kind == Kind.DISTRACTOR:
                drawn = drawn[::-1]
        row, column = divmod(at, grid)
        where = (slice(edges[row], edges[row + 1]), slice(edges[column], edges[column + 1]))
        size = (slice(edges[row + 1] - edges[row]), slice(edges[column + 1] - edges[column]))
        pixels[where] = drawn[size]
        if places.positive[at]:
            visible[(label, *where)] = mask[size]
    if alike:
        cast = np.exp(alike * rng.normal(0, 0.5, 3))
        pixels = (np.clip(pixels * cast, 0, 255) + 0.5).astype(np.uint8)
    return pixels, visible
