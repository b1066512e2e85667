"""Colours, noise and the scene in the making, shared by all elements of a landscape.

Notation: S side of an image in pixels, L the five labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from retdm.data.synthetic.label_sets import NAMES

Array = NDArray[np.floating]  # float32 throughout: half the time of float64
Colour = NDArray[np.floating]  # (3,), red, green, blue; 1 is white

# Hues that occur in nature; the lists overlap on purpose, between labels and their distractors.
SAND = [(0.86, 0.68, 0.42), (0.80, 0.50, 0.28), (0.72, 0.36, 0.22), (0.90, 0.82, 0.68), (0.62, 0.50, 0.38)]
GREEN = [(0.30, 0.46, 0.18), (0.42, 0.52, 0.20), (0.18, 0.34, 0.18), (0.52, 0.56, 0.30), (0.20, 0.38, 0.30)]
AUTUMN = [(0.66, 0.42, 0.14), (0.62, 0.26, 0.14), (0.72, 0.60, 0.22), (0.40, 0.28, 0.16)]
WATER = [(0.16, 0.34, 0.54), (0.14, 0.44, 0.50), (0.34, 0.44, 0.50), (0.10, 0.22, 0.34), (0.36, 0.42, 0.36)]
ROCK = [(0.46, 0.44, 0.42), (0.40, 0.34, 0.30), (0.36, 0.42, 0.52), (0.54, 0.40, 0.30), (0.26, 0.28, 0.30)]
SNOW = [(0.90, 0.92, 0.96)]
DAY = [(0.30, 0.52, 0.84), (0.46, 0.64, 0.86), (0.58, 0.62, 0.68), (0.20, 0.34, 0.62), (0.66, 0.74, 0.80)]
DUSK = [(0.52, 0.36, 0.48), (0.30, 0.26, 0.42), (0.62, 0.46, 0.36), (0.16, 0.20, 0.36), (0.66, 0.40, 0.30)]
WARM = [(0.96, 0.62, 0.28), (0.94, 0.48, 0.26), (0.92, 0.74, 0.46), (0.90, 0.56, 0.52), (0.80, 0.34, 0.24)]
PALE = [(0.82, 0.88, 0.92), (0.72, 0.78, 0.84), (0.88, 0.86, 0.80), (0.64, 0.68, 0.72)]


def pick(rng: Generator, *palettes: list[tuple[float, float, float]], jitter: float = 0.05) -> Colour:
    """One colour of one of the palettes, moved a little."""
    palette = palettes[rng.integers(len(palettes))]
    base = np.array(palette[rng.integers(len(palette))])
    return np.clip(base + rng.normal(0, jitter, 3), 0.02, 1).astype(np.float32)


def step(x: Array, low: float, high: float) -> Array:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t: Array = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a: Array, b: Array | float, t: Array | float) -> Array:
    mixed: Array = a + (b - a) * t
    return mixed


def _lattice(table: Array, u: Array, v: Array) -> Array:
    """Smooth interpolation of a periodic table of random values at (u, v), which broadcast."""
    size = len(table)
    u0, v0 = np.floor(u), np.floor(v)
    s, t = u - u0, v - v0
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    i, j = u0.astype(np.intp) % size, v0.astype(np.intp) % size * size
    i1, j1 = (i + 1) % size, (j + size) % (size * size)
    flat = table.ravel()
    near = mix(flat[i + j], flat[i1 + j], s)
    far = mix(flat[i + j1], flat[i1 + j1], s)
    return mix(near, far, t)


def fractal(rng: Generator, u: Array, v: Array | float = 0.0, octaves: int = 3, ridged: bool = False) -> Array:
    """Fractal value noise in [0, 1], mean near one half; ``u`` and ``v`` count cells of the coarsest octave.

    ``ridged`` folds every octave at its middle, which leaves sharp crests.
    """
    table = rng.random((32, 32), dtype=np.float32)
    v = np.asarray(v, dtype=np.float32)
    total: Array = np.zeros(1, dtype=np.float32)
    weight, full = 1.0, 0.0
    for offset in rng.random((octaves, 2), dtype=np.float32) * 32:
        value = _lattice(table, u + offset[0], v + offset[1])
        total = total + weight * (1 - np.abs(2 * value - 1) if ridged else value)
        full, weight = full + weight, weight * 0.55
        u, v = u * 2, v * 2
    # A mean of octaves huddles around one half: spread it.
    spread: Array = np.clip((total / full - 0.5) * 1.4 + 0.5, 0, 1)
    return spread


@dataclass
class Scene:
    """A picture in the making, and the light and place that all things drawn into it share."""

    rng: Generator
    x: Array  # (1, S), to the right
    y: Array  # (S, S), downwards
    image: Array  # (S, S, 3)
    visible: NDArray[np.bool_]  # (L, S, S)
    horizon: float
    sun: tuple[float, float]
    sunset: bool
    light: float  # how bright the land is; low against a low sun
    side_light: float  # -1 light from the left, 1 from the right
    haze: Colour  # what distance fades to
    below: Array  # (S, S), y - horizon

    def paint(self, alpha: Array, colour: Array, label: str | None = None) -> None:
        """Lay ``colour`` (S, S, 3) or (3,) over the picture; what lies under it is no longer visible."""
        self.image += (colour - self.image) * alpha[..., None]
        covered = alpha > 0.5
        self.visible &= ~covered
        if label is not None:
            self.visible[NAMES.index(label)] |= covered

    def edge(self, distance: Array, softness: float = 0.012) -> Array:
        """Coverage in [0, 1] of the half plane where ``distance`` is above 0."""
        coverage: Array = np.clip(distance / softness + 0.5, 0, 1)
        return coverage

    def lit(self, colour: Colour, shade: Array, distance: float) -> Array:
        """A surface of one colour (3,) under a shade (S, S), faded by haze over ``distance`` in [0, 1]."""
        return mix(shade[..., None] * (colour * self.light), self.haze, distance)
