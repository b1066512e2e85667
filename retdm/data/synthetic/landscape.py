"""One landscape, drawn from back to front. Notation: S side of an image in pixels, L the five labels.

Coordinates go from 0 to 1, so the same scene can be drawn at any side; only the sensor's noise, drawn last, belongs to
the pixels. Every label has distractors in images without it (warm light without a low sun, plains of the sea's colours,
round hills and cloud banks, meadows of sand's colours, rocks and grass of the trees' colours), and light, exposure and
colour cast vary widely, so the labels lie in shape and texture more than in colour.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from retdm.data.synthetic.canvas import (
    AUTUMN,
    DAY,
    DUSK,
    GREEN,
    PALE,
    ROCK,
    SAND,
    SNOW,
    WARM,
    WATER,
    Array,
    Colour,
    Scene,
    fractal,
    mix,
    pick,
)
from retdm.data.synthetic.ground import desert, hills, mountains, plain, rocks, sea
from retdm.data.synthetic.label_sets import NAMES
from retdm.data.synthetic.sky import sky
from retdm.data.synthetic.trees import trees


def _empty(rng: Generator, labels: NDArray[np.uint8], side: int) -> tuple[Scene, Colour, Colour]:
    """The empty scene, and the sky's two colours: camera, horizon, hour and light."""
    grid = (np.arange(side, dtype=np.float32) + 0.5) / side
    zoom, mirrored = rng.uniform(0.85, 1.1), rng.random() < 0.5
    x = (0.5 + (grid - 0.5) * (-zoom if mirrored else zoom))[None, :]
    y = grid[:, None] + rng.normal(0, 0.015) * (x - 0.5)
    _, high, _, sunset, _ = labels
    horizon = rng.uniform(0.42, 0.68) if high or sunset else rng.uniform(0.25, 0.65)
    low = horizon - rng.uniform(0.0, 0.16)
    sun = (rng.uniform(0.12, 0.88), low if sunset else rng.uniform(0.06, max(horizon - 0.28, 0.07)))
    if sunset:
        zenith = pick(rng, DUSK, DAY, WARM)
        band = pick(rng, WARM, WARM, PALE, DUSK)
        light = rng.uniform(0.3, 0.95)
    else:
        zenith = pick(rng, DAY, DAY, DUSK, PALE)
        band = pick(rng, PALE, PALE, WARM, DUSK, DAY)
        light = rng.uniform(0.4, 1.1)
    scene = Scene(
        rng=rng,
        x=x.astype(np.float32),
        y=y.astype(np.float32),
        image=np.zeros((side, side, 3), np.float32),
        visible=np.zeros((len(NAMES), side, side), bool),
        horizon=horizon,
        sun=sun,
        sunset=bool(sunset),
        light=light,
        side_light=1.0 if rng.random() < 0.5 else -1.0,
        haze=mix(band, zenith, 0.2),
        below=(y - horizon).astype(np.float32),
    )
    return scene, zenith, band


def _develop(rng: Generator, image: Array) -> NDArray[np.uint8]:
    """From light to pixels: haze, colour cast, saturation, exposure, tone, and the sensor's noise."""
    image = mix(image, rng.uniform(0.4, 0.9, 3).astype(np.float32), rng.uniform(0, 0.2))
    cast = np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    exposure = (rng.uniform(0.3, 0.65) / image.mean()) ** 0.7  # as a camera's, and not always right
    image = image * (cast * exposure)
    grey = image.mean(axis=2, keepdims=True)
    image = np.clip(mix(grey, image, rng.uniform(0.35, 1.15)), 0, 1)
    image = image ** rng.uniform(0.75, 1.3)
    noise = rng.uniform(0.004, 0.03)
    # Last of all draws, so that the scene before it is the same at every side.
    image = image + noise * rng.standard_normal(image.shape, dtype=np.float32)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def draw_scene(rng: Generator, labels: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pixels (S, S, 3) and where each label is visible (L, S, S)."""
    has = dict(zip(NAMES, map(bool, labels), strict=True))
    s, zenith, band = _empty(rng, labels, side)
    sky(s, zenith, band)
    ground = pick(rng, SAND, GREEN, WATER, ROCK, AUTUMN, jitter=0.07)
    second = pick(rng, SAND, GREEN, ROCK, WATER, SNOW)
    if has["mountains"]:
        mountains(s)
    elif rng.random() < 0.5:
        hills(s, mix(ground, pick(rng, ROCK, GREEN, WATER), rng.random()))
    if has["sea"]:
        sea(s)
    else:
        plain(s, ground, second)
    if has["desert"]:
        desert(s, (1 - s.horizon) * rng.uniform(0.35, 0.5) if has["sea"] else 0.0)
    elif has["sea"] and rng.random() < 0.4:  # a shore: sand, grass or rock, without dunes
        slant = rng.uniform(-0.5, 0.5)
        coast = fractal(rng, s.x * 3, 0.0, 3) * 0.12 + slant * (s.x - 0.5)
        plain(s, ground, second, (1 - s.horizon) * rng.uniform(0.55, 0.85) + coast)
    if rng.random() < 0.3 and not (has["sea"] and has["desert"]):
        rocks(s)
    if has["trees"]:
        trees(s, 0.6 if has["mountains"] or has["sunset"] or has["sea"] else 1.6)
    return _develop(rng, s.image), s.visible
