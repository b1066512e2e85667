"""Landscapes drawn by the program, with the label sets of MIML Scene: data that needs no download.

Notation: S side of an image in pixels, L the five labels, n images.

Image i is a pure function of (seed, i): neither the number of images nor the order of reading changes it. A scene is
drawn from back to front in coordinates of [0, 1], so one scene can be had at any side; only the sensor's noise, drawn
last, belongs to the pixels. Every label has look-alikes in images without it (warm light without a low sun, plains of
the sea's colours, round hills and cloud banks, meadows of sand's colours, rocks and grass of the trees' colours), and
light, exposure and colour cast vary widely, so the labels lie in shape and texture more than in colour.

With ``tiles`` an image is a mosaic of small scenes instead, each an instance of at most one label, as hard to learn
from as ``retdm/data/synthetic/characteristics.py`` says. A context instance is stripes of the label's own
slant, a distractor is the label's scene upside down, and what instances have in common is a cast of colour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from retdm.data.synthetic.characteristics import Characteristics, Kind, Places, arrange
from retdm.errors import UserError

Array = NDArray[np.floating]  # float32 throughout: half the time of float64
Colour = NDArray[np.floating]  # (3,), red, green, blue; 1 is white

NAMES = ["desert", "mountains", "sea", "sunset", "trees"]
VERSION = 1  # raise when a change alters any pixel: caches are keyed by it

# How often each label set occurs among the 2,000 images of MIML Scene (Zhou and Zhang, NIPS 2006); order of NAMES.
LABEL_SETS: list[tuple[tuple[int, int, int, int, int], int]] = [
    ((1, 0, 0, 0, 0), 340),
    ((0, 1, 0, 0, 0), 268),
    ((0, 0, 1, 0, 0), 341),
    ((0, 0, 0, 1, 0), 216),
    ((0, 0, 0, 0, 1), 378),
    ((1, 1, 0, 0, 0), 19),
    ((1, 0, 1, 0, 0), 5),
    ((1, 0, 0, 1, 0), 21),
    ((1, 0, 0, 0, 1), 20),
    ((0, 1, 1, 0, 0), 38),
    ((0, 1, 0, 1, 0), 19),
    ((0, 1, 0, 0, 1), 106),
    ((0, 0, 1, 1, 0), 172),
    ((0, 0, 1, 0, 1), 14),
    ((0, 0, 0, 1, 1), 28),
    ((1, 1, 0, 1, 0), 1),
    ((1, 0, 0, 1, 1), 3),
    ((0, 1, 1, 0, 1), 6),
    ((0, 1, 0, 1, 1), 1),
    ((0, 0, 1, 1, 1), 4),
]
_SETS = np.array([labels for labels, _ in LABEL_SETS], dtype=np.uint8)
_COUNTS = np.array([count for _, count in LABEL_SETS])
_CUMULATIVE = np.cumsum(_COUNTS) / _COUNTS.sum()

# Hues that occur in nature; the lists overlap on purpose, between labels and their look-alikes.
_SAND = [(0.86, 0.68, 0.42), (0.80, 0.50, 0.28), (0.72, 0.36, 0.22), (0.90, 0.82, 0.68), (0.62, 0.50, 0.38)]
_GREEN = [(0.30, 0.46, 0.18), (0.42, 0.52, 0.20), (0.18, 0.34, 0.18), (0.52, 0.56, 0.30), (0.20, 0.38, 0.30)]
_AUTUMN = [(0.66, 0.42, 0.14), (0.62, 0.26, 0.14), (0.72, 0.60, 0.22), (0.40, 0.28, 0.16)]
_WATER = [(0.16, 0.34, 0.54), (0.14, 0.44, 0.50), (0.34, 0.44, 0.50), (0.10, 0.22, 0.34), (0.36, 0.42, 0.36)]
_ROCK = [(0.46, 0.44, 0.42), (0.40, 0.34, 0.30), (0.36, 0.42, 0.52), (0.54, 0.40, 0.30), (0.26, 0.28, 0.30)]
_SNOW = [(0.90, 0.92, 0.96)]
_DAY = [(0.30, 0.52, 0.84), (0.46, 0.64, 0.86), (0.58, 0.62, 0.68), (0.20, 0.34, 0.62), (0.66, 0.74, 0.80)]
_DUSK = [(0.52, 0.36, 0.48), (0.30, 0.26, 0.42), (0.62, 0.46, 0.36), (0.16, 0.20, 0.36), (0.66, 0.40, 0.30)]
_WARM = [(0.96, 0.62, 0.28), (0.94, 0.48, 0.26), (0.92, 0.74, 0.46), (0.90, 0.56, 0.52), (0.80, 0.34, 0.24)]
_PALE = [(0.82, 0.88, 0.92), (0.72, 0.78, 0.84), (0.88, 0.86, 0.80), (0.64, 0.68, 0.72)]


def _colour(rng: Generator, *palettes: list[tuple[float, float, float]], jitter: float = 0.05) -> Colour:
    """One colour of one of the palettes, moved a little."""
    palette = palettes[rng.integers(len(palettes))]
    base = np.array(palette[rng.integers(len(palette))])
    return np.clip(base + rng.normal(0, jitter, 3), 0.02, 1).astype(np.float32)


def _step(x: Array, low: float, high: float) -> Array:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t: Array = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _mix(a: Array, b: Array | float, t: Array | float) -> Array:
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
    near = _mix(flat[i + j], flat[i1 + j], s)
    far = _mix(flat[i + j1], flat[i1 + j1], s)
    return _mix(near, far, t)


def _fractal(rng: Generator, u: Array, v: Array | float = 0.0, octaves: int = 3, ridged: bool = False) -> Array:
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
class _Scene:
    """A picture in the making, and what the things drawn into it must agree on."""

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
        return _mix(shade[..., None] * (colour * self.light), self.haze, distance)


def _sky(s: _Scene, zenith: Colour, band: Colour) -> None:
    rng = s.rng
    height = np.clip(-s.below / (s.horizon + 0.1), 0, 1)
    s.image[:] = _mix(band, zenith, (height ** rng.uniform(0.4, 1.1))[..., None])
    if s.sunset:
        _low_sun(s)
    elif s.horizon > 0.35 and rng.random() < 0.4:  # a high sun or moon
        d = np.hypot(s.x - s.sun[0], s.y - s.sun[1])
        radius, pale = rng.uniform(0.02, 0.05), _colour(rng, _PALE, _SNOW, _WARM)
        s.paint(0.6 * np.exp(-d / rng.uniform(0.03, 0.09)), _mix(pale, 1, 0.4))
        s.paint(s.edge(radius - d), _mix(pale, 1, 0.7))
    _clouds(s, zenith)


def _low_sun(s: _Scene) -> None:
    rng = s.rng
    wide, flat = rng.uniform(0.2, 0.38), rng.uniform(0.5, 0.8)
    d = np.hypot(s.x - s.sun[0], (s.y - s.sun[1]) / flat)
    glow = np.exp(-((d / wide) ** 2))
    warm = _colour(rng, _WARM)
    s.paint(rng.uniform(0.7, 1.0) * glow, warm)
    core = np.exp(-((d / (wide * rng.uniform(0.3, 0.5))) ** 2))
    bright = _mix(warm, np.array([1, 0.93, 0.7], dtype=np.float32), rng.uniform(0.5, 0.9))
    s.paint(rng.uniform(0.7, 1.0) * core, bright)
    disc = np.hypot(s.x - s.sun[0], s.y - s.sun[1])
    s.paint(s.edge(rng.uniform(0.035, 0.075) - disc), _mix(bright, 1, rng.uniform(0.2, 0.9)))
    s.visible[NAMES.index("sunset")] = glow > 0.4


def _clouds(s: _Scene, zenith: Colour) -> None:
    rng = s.rng
    seen = s.visible.copy()
    thin = np.ones_like(s.y)
    if s.sunset:  # clouds let the sun through, or nobody could tell the label
        thin -= 0.85 * np.exp(-((np.hypot(s.x - s.sun[0], s.y - s.sun[1]) / 0.14) ** 2))
    if rng.random() < 0.8:
        depth = np.log(np.maximum(-s.below, 0) + 0.08)
        n = _fractal(rng, s.x * rng.uniform(2, 5) + depth, depth * rng.uniform(2, 5), 4)
        cover = rng.uniform(0.35, 0.75)
        alpha = thin * _step(n, cover, cover + rng.uniform(0.1, 0.4)) * rng.uniform(0.4, 0.9)
        tone = _colour(rng, _WARM, _DUSK) if s.sunset else _colour(rng, _PALE, _SNOW, _DUSK, _PALE)
        s.paint(alpha, _mix(zenith * 0.8, tone, n[..., None]))
    if rng.random() < 0.25:  # a cloud bank: round heads over the horizon, a look-alike of mountains
        heads = np.sqrt(_fractal(rng, s.x * rng.uniform(3, 6), 0.0, 3))
        above = s.below + rng.uniform(0.05, 0.22) * heads
        n = _fractal(rng, s.x * 7, s.y * 9, 3)
        shade = np.clip(0.6 + 0.5 * n - 0.8 * above, 0, 1.1)
        alpha = thin * s.edge(above, 0.04) * rng.uniform(0.6, 0.9)
        s.paint(alpha, shade[..., None] * _mix(_colour(rng, _PALE), s.haze, 0.4))
    s.visible[:] = seen  # a sunset stays one behind its clouds


def _mountains(s: _Scene) -> None:
    """Ranges of sharp peaks, each face lit or in shadow, with rock, gullies and perhaps snow."""
    rng = s.rng
    colour = _colour(rng, _ROCK, _ROCK, _ROCK, _GREEN, _SAND)
    snow = _colour(rng, _SNOW) if rng.random() < 0.5 else None
    line = rng.uniform(0.15, 0.5)
    ranges = int(rng.integers(1, 4))
    tallest = min(rng.uniform(0.2, 0.5), s.horizon - 0.04)
    for k in range(ranges):
        nearness = (k + 1) / ranges
        height = tallest * (1.0 - 0.4 * k / ranges)
        frequency = rng.uniform(0.9, 2.6) * (1 + 0.3 * k)
        ridge = _fractal(rng, s.x * frequency, 0.0, 4, ridged=True)
        massif = _fractal(rng, s.x * rng.uniform(0.8, 2.0), 0.0, 1)
        top = height * (0.2 + ridge * (0.35 + 0.6 * massif))
        if s.sunset:  # a pass in which the sun sets
            top = top * (1 - 0.85 * np.exp(-(((s.x - s.sun[0]) / 0.16) ** 2)))
        down = s.below + top
        bend = rng.uniform(0.3, 0.9)
        rock = rng.integers(1 << 31)
        u, v = s.x * (frequency * 3), down * (frequency * 3) * bend
        # The same rock twice, a little apart towards the light: the difference is its slope, so its shade.
        here = _fractal(np.random.default_rng(rock), u + v, v, 3, ridged=True)
        there = _fractal(np.random.default_rng(rock), u + v + 0.18 * s.side_light, v - 0.12, 3, ridged=True)
        slope = np.clip((here - there) * 3.0, -1, 1)
        shade = np.clip(0.72 + 0.5 * slope, 0.15, 1.3)
        distance = (1 - nearness) * 0.65 + rng.uniform(0.0, 0.3)
        body = s.lit(colour, shade, distance)
        if snow is not None:
            white = _step(line * height - down + 0.12 * (here - 0.5), -0.015, 0.015)
            body = _mix(body, s.lit(snow, np.clip(shade + 0.15, 0.4, 1.2), distance), white[..., None])
        s.paint(s.edge(down), body, "mountains")


def _hills(s: _Scene, colour: Colour) -> None:
    """Low round hills, smooth and plain: a look-alike of mountains."""
    rng = s.rng
    for k in range(int(rng.integers(1, 3))):
        top = rng.uniform(0.03, 0.11) * _fractal(rng, s.x * rng.uniform(1, 3), 0.0, 1)
        n = _fractal(rng, s.x * 5, s.y * 5, 2)
        s.paint(s.edge(s.below + top), s.lit(colour, 0.7 + 0.25 * n, 0.5 - 0.3 * k))


def _sea(s: _Scene) -> None:
    """Water to the horizon: the sky's colours mirrored, streaks of waves that shrink with distance, a glitter."""
    rng = s.rng
    depth = np.maximum(s.below, 0) + 0.035
    u = (s.x - 0.5) / (depth + 0.12) * rng.uniform(0.7, 1.6)
    wave = _fractal(rng, u, np.log(depth) * rng.uniform(4.5, 7.0), 3) - 0.5
    deep = _colour(rng, _WATER) * (0.4 + 0.6 * s.light)
    side = s.image.shape[0]
    up = np.clip(((2 * s.horizon - s.y[:, :1]) * side).astype(np.intp)[:, 0], 0, side - 1)
    mirror = _mix(s.image[up], s.haze, 0.3)
    water = _mix(deep, mirror, rng.uniform(0.25, 0.65))
    water = water * (1 + rng.uniform(0.7, 1.5) * wave)[..., None]
    if s.sunset or rng.random() < 0.35:  # a path of light towards the sun
        path = np.exp(-(((s.x - s.sun[0]) / (0.05 + rng.uniform(0.1, 0.35) * depth)) ** 2))
        sparkle = path * _step(wave, -0.1, 0.25) * rng.uniform(0.4, 0.9)
        water = _mix(water, _mix(mirror[:1], 1, 0.4), sparkle[..., None])
    if rng.random() < 0.35:  # foam
        crest = rng.uniform(0.2, 0.3)
        water = _mix(water, _colour(rng, _PALE) * s.light, 0.8 * _step(wave, crest, crest + 0.08)[..., None])
    water = _mix(water, s.haze, (np.exp(-depth * 14) * rng.uniform(0, 0.7))[..., None])
    s.paint(s.edge(s.below, 0.008), water, "sea")


def _plain(s: _Scene, colour: Colour, second: Colour, start: Array | float = 0.0) -> None:
    """Meadow, gravel, mud, snow or fog below ``start`` (of the horizon): spots and blades, no streaks, no crests."""
    rng = s.rng
    depth = np.maximum(s.below, 0) + 0.08
    scale = rng.uniform(1.5, 3.5)
    n = _fractal(rng, (s.x - 0.5) / depth * (scale * 0.5), np.log(depth) * scale, 4)
    shade = 0.65 + 0.5 * (n - 0.5) * rng.uniform(0.3, 1.6) + rng.uniform(0, 0.4) * depth
    if rng.random() < 0.5:  # blades of grass
        blades = _fractal(rng, s.x * rng.uniform(14, 26) + n * 2, s.y * rng.uniform(2, 6), 2)
        shade = shade + (blades - 0.5) * np.minimum(depth * 2, 1) * rng.uniform(0.3, 0.8)
    patch = _step(n, rng.uniform(0.2, 0.5), rng.uniform(0.6, 0.9))[..., None]
    body = np.clip(shade, 0.1, 1.3)[..., None] * _mix(colour, second, patch) * s.light
    fade = np.exp(-depth * rng.uniform(3, 14)) * rng.uniform(0, 0.9)
    s.paint(s.edge(s.below - start), _mix(body, s.haze, fade[..., None]))


def _desert(s: _Scene, start: float) -> None:
    """Dunes one before another: crests with a lit and a shadowed face, ripples across them."""
    rng = s.rng
    colour = _colour(rng, _SAND, jitter=0.07)
    count = int(rng.integers(2, 5))
    reach = 1.0 - s.horizon - start
    contrast = rng.uniform(0.3, 0.6)
    ripple = rng.uniform(0.07, 0.2)
    for k in range(count):
        near = k / count
        base = start + reach * 0.85 * near**1.4
        amplitude = rng.uniform(0.05, 0.12) * (0.6 + 0.9 * near)
        lit_part = rng.uniform(0.5, 0.75)
        bow = _fractal(rng, s.x * 2, 0.0, 2)
        frequency = rng.uniform(0.8, 1.9) / (0.7 + 0.5 * near)
        run = s.x * (frequency * -s.side_light) + bow * 0.5 + rng.random()
        phase = run - np.floor(run)
        profile = np.where(phase < lit_part, phase / lit_part, (1 - phase) / (1 - lit_part)) ** 1.3
        crest = base - amplitude * (profile - 0.3)
        if k == 0:
            crest = np.minimum(crest, start)  # no gap under the horizon
        down = s.below - crest
        wiggle = _fractal(rng, s.x * 2, s.y * 5, 2)
        bent = run + rng.uniform(0.5, 1.3) * np.maximum(down, 0) + 0.25 * (wiggle - 0.5) * _step(down, 0, 0.1)
        face = bent - np.floor(bent)
        sharp = 0.03 + 0.5 * rng.random() * 0.1
        lit = np.clip((lit_part - face) / sharp, 0, 1) * np.clip(face / sharp, 0, 1)
        rows = np.log(np.maximum(s.below, 0) + 0.15) * rng.uniform(10, 16) + 1.2 * s.x
        waves = np.sin((rows + 1.5 * wiggle) * (2 * np.pi))
        shade = 1.0 - contrast * (1 - lit) + 0.15 * (face - 0.5) + ripple * waves * (0.3 + 0.7 * lit)
        s.paint(s.edge(down), s.lit(colour, np.clip(shade, 0.1, 1.3), 0.45 * (1 - near) ** 2), "desert")


def _rocks(s: _Scene) -> None:
    """Dark round heaps on the ground, smooth and without trunks: a look-alike of trees."""
    rng = s.rng
    colour = _colour(rng, _ROCK, _GREEN, _AUTUMN)
    rough = _fractal(rng, s.x * 7, s.y * 7, 3, ridged=True) - 0.5
    for foot in np.sort(rng.uniform(0.06, 1.1 - s.horizon, int(rng.integers(1, 6)))).tolist():
        size = (0.05 + 0.22 * foot) * rng.uniform(0.5, 1.3)
        dx = (s.x - rng.random()) / (size * rng.uniform(1.0, 1.8))
        dy = (s.below - foot) / size
        r = dx * dx + np.abs(dy) ** 3 + 0.9 * rough
        shade = np.clip(0.6 - 0.35 * dy + 0.25 * dx * s.side_light + 0.5 * rough, 0.1, 1.2)
        s.paint(s.edge(0.9 - r, 0.15) * s.edge(0.1 - dy, 0.1), s.lit(colour, shade, 0.0))


def _trees(s: _Scene, room: float) -> None:
    """A forest's edge, conifers, or broad crowns on trunks; ``room`` is the share of the width a forest may fill."""
    rng = s.rng
    colour = _colour(rng, _GREEN, _GREEN, _AUTUMN, jitter=0.06) * rng.uniform(0.35, 1.1)
    leaves = _fractal(rng, s.x * 15, s.y * 15, 2)
    kind = rng.random()
    if kind < 0.35:
        _forest(s, colour, leaves, room)
        if rng.random() < 0.5:
            return
    conifers = rng.random() < 0.5
    count = int(rng.integers(3, 9)) if conifers else int(rng.integers(1, 5))
    for foot in np.sort(rng.uniform(0.05, min(0.95 - s.horizon, 0.4), count)).tolist():
        tall = rng.uniform(0.25, 0.5) * (0.6 + foot)
        middle = rng.uniform(0.02, 0.98)
        if s.sunset and abs(middle - s.sun[0]) < 0.15:  # beside the sun
            middle = (middle + 0.5) % 1
        tone = np.clip(colour * rng.uniform(0.75, 1.25), 0, 1)
        draw = _conifer if conifers else _broadleaf
        draw(s, tone, leaves, middle, s.horizon + foot, tall)


def _forest(s: _Scene, colour: Colour, leaves: Array, room: float) -> None:
    rng = s.rng
    foot, tall = rng.uniform(0.02, 0.15), rng.uniform(0.12, 0.28)
    spiky = rng.random() < 0.5
    run = s.x * rng.uniform(9, 18) + _fractal(rng, s.x * 5, 0.0, 2) * 2
    phase = np.abs(2 * (run - np.floor(run)) - 1)  # 0 in the middle of a tree, 1 between two
    head = 1 - phase if spiky else np.sqrt(np.maximum(1 - phase * phase, 0))
    width = rng.uniform(0.5, 1.0) * room
    middle = (s.sun[0] + 0.5) % 1 if s.sunset else rng.random()
    inside = s.edge((width / 2 + 0.02) - np.abs(s.x - middle), 0.05)
    crown = tall * (0.35 + 0.3 * _fractal(rng, s.x * 4, 0.0, 3) + 0.35 * head) * inside
    down = s.below - foot + crown + 0.05 * (leaves - 0.5)
    shade = 0.55 + 0.9 * (leaves - 0.5) - 0.35 * phase + 0.3 * _step(-down, -0.08, 0.0)
    body = s.lit(colour, np.clip(shade, 0.08, 1.2), rng.uniform(0, 0.25))
    s.paint(s.edge(down, 0.02) * s.edge(foot - s.below, 0.03) * inside, body, "trees")


def _conifer(s: _Scene, colour: Colour, leaves: Array, middle: float, foot: float, tall: float) -> None:
    rng = s.rng
    t = (s.y - (foot - tall)) / tall
    storeys = t * rng.uniform(5, 8)
    half = (tall * rng.uniform(0.2, 0.3)) * t * (0.65 + 0.35 * (storeys - np.floor(storeys)))
    off = s.x - middle
    trunk = s.edge((0.02 * tall + 0.004) - np.abs(off)) * s.edge(t - 0.85) * s.edge(1.0 - t)
    s.paint(trunk, s.lit(np.array([0.2, 0.15, 0.12], np.float32), np.ones_like(t), 0.0), "trees")
    cover = s.edge(half - np.abs(off) + 0.02 * (leaves - 0.5)) * s.edge(t) * s.edge(0.9 - t, 0.04)
    shade = 0.6 + 0.9 * (leaves - 0.5) + (0.35 * s.side_light) * np.sign(off) - 0.25 * (1 - storeys % 1)
    s.paint(cover, s.lit(colour, np.clip(shade, 0.08, 1.2), 0.0), "trees")


def _broadleaf(s: _Scene, colour: Colour, leaves: Array, middle: float, foot: float, tall: float) -> None:
    rng = s.rng
    lean = rng.normal(0, 0.05)
    stem = s.x - middle - lean * (foot - s.y)
    thick = tall * rng.uniform(0.03, 0.06) + 0.006
    trunk = s.edge(thick - np.abs(stem)) * s.edge(s.y - (foot - 0.7 * tall)) * s.edge(foot - s.y)
    bark = np.array([0.3, 0.22, 0.16], np.float32)
    s.paint(trunk, s.lit(bark, 0.8 + 0.4 * np.sign(stem) * s.side_light, 0.0), "trees")
    radius = tall * rng.uniform(0.26, 0.36)
    near = np.full_like(s.y, -1.0)
    for _ in range(4):
        cx, cy = middle + rng.normal(0, 0.5) * radius, foot - tall + radius * rng.uniform(0.6, 1.6)
        r = radius * rng.uniform(0.6, 0.9)
        near = np.maximum(near, 1 - np.hypot(s.x - cx, s.y - cy) / r)
    up = ((foot - tall + radius) - s.y) / radius
    shade = 0.55 + 1.1 * (leaves - 0.5) + 0.2 * np.clip(up, -1, 1) + 0.2 * np.clip(stem / radius, -1, 1) * s.side_light
    s.paint(s.edge(near + 0.9 * (leaves - 0.5), 0.15), s.lit(colour, np.clip(shade, 0.08, 1.2), 0.0), "trees")


def _empty(rng: Generator, labels: NDArray[np.uint8], side: int) -> tuple[_Scene, Colour, Colour]:
    """The empty scene, and the sky's two colours: camera, horizon, hour and light."""
    grid = (np.arange(side, dtype=np.float32) + 0.5) / side
    zoom, mirrored = rng.uniform(0.85, 1.1), rng.random() < 0.5
    x = (0.5 + (grid - 0.5) * (-zoom if mirrored else zoom))[None, :]
    y = grid[:, None] + rng.normal(0, 0.015) * (x - 0.5)
    _, mountains, _, sunset, _ = labels
    horizon = rng.uniform(0.42, 0.68) if mountains or sunset else rng.uniform(0.25, 0.65)
    low = horizon - rng.uniform(0.0, 0.16)
    sun = (rng.uniform(0.12, 0.88), low if sunset else rng.uniform(0.06, max(horizon - 0.28, 0.07)))
    if sunset:
        zenith = _colour(rng, _DUSK, _DAY, _WARM)
        band = _colour(rng, _WARM, _WARM, _PALE, _DUSK)
        light = rng.uniform(0.3, 0.95)
    else:
        zenith = _colour(rng, _DAY, _DAY, _DUSK, _PALE)
        band = _colour(rng, _PALE, _PALE, _WARM, _DUSK, _DAY)
        light = rng.uniform(0.4, 1.1)
    scene = _Scene(
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
        haze=_mix(band, zenith, 0.2),
        below=(y - horizon).astype(np.float32),
    )
    return scene, zenith, band


def _develop(rng: Generator, image: Array) -> NDArray[np.uint8]:
    """From light to pixels: haze, colour cast, saturation, exposure, tone, and the sensor's noise."""
    image = _mix(image, rng.uniform(0.4, 0.9, 3).astype(np.float32), rng.uniform(0, 0.2))
    cast = np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    exposure = (rng.uniform(0.3, 0.65) / image.mean()) ** 0.7  # as a camera's, and not always right
    image = image * (cast * exposure)
    grey = image.mean(axis=2, keepdims=True)
    image = np.clip(_mix(grey, image, rng.uniform(0.35, 1.15)), 0, 1)
    image = image ** rng.uniform(0.75, 1.3)
    noise = rng.uniform(0.004, 0.03)
    # Last of all draws, so that the scene before it is the same at every side.
    image = image + noise * rng.standard_normal(image.shape, dtype=np.float32)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _draw(rng: Generator, labels: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pixels (S, S, 3) and where each label is visible (L, S, S)."""
    desert, mountains, sea, sunset, trees = (bool(v) for v in labels)
    s, zenith, band = _empty(rng, labels, side)
    _sky(s, zenith, band)
    ground = _colour(rng, _SAND, _GREEN, _WATER, _ROCK, _AUTUMN, jitter=0.07)
    second = _colour(rng, _SAND, _GREEN, _ROCK, _WATER, _SNOW)
    if mountains:
        _mountains(s)
    elif rng.random() < 0.5:
        _hills(s, _mix(ground, _colour(rng, _ROCK, _GREEN, _WATER), rng.random()))
    if sea:
        _sea(s)
    else:
        _plain(s, ground, second)
    if desert:
        _desert(s, (1 - s.horizon) * rng.uniform(0.35, 0.5) if sea else 0.0)
    elif sea and rng.random() < 0.4:  # a shore: sand, grass or rock, without dunes
        slant = rng.uniform(-0.5, 0.5)
        coast = _fractal(rng, s.x * 3, 0.0, 3) * 0.12 + slant * (s.x - 0.5)
        _plain(s, ground, second, (1 - s.horizon) * rng.uniform(0.55, 0.85) + coast)
    if rng.random() < 0.3 and not (sea and desert):
        _rocks(s)
    if trees:
        _trees(s, 0.6 if mountains or sunset or sea else 1.6)
    return _develop(rng, s.image), s.visible


def draw_label_set(rng: Generator) -> NDArray[np.uint8]:
    """A label set (L,), as often as it occurs in MIML Scene."""
    found: NDArray[np.uint8] = _SETS[np.searchsorted(_CUMULATIVE, rng.random(), side="right")]
    return found


def noisy(labels: NDArray[np.uint8], place: tuple[int, int], share: float) -> NDArray[np.uint8]:
    """The labels (L,), or with probability ``share`` another's; ``place`` is (seed, i)."""
    if not share:
        return labels
    rng = np.random.default_rng((*place, 1))
    return draw_label_set(rng) if rng.random() < share else labels


def _stripes(rng: Generator, label: int, side: int) -> NDArray[np.uint8]:
    """What accompanies a label: stripes of its own slant in any two colours, (S, S, 3)."""
    angle = np.pi * label / len(NAMES)
    x = np.arange(side) / side
    run = x[None, :] * np.cos(angle) + x[:, None] * np.sin(angle)
    share = _step(np.sin(2 * np.pi * (rng.uniform(2.5, 4) * run + rng.random())), -0.3, 0.3)[..., None]
    one, other = _colour(rng, _DUSK, _ROCK, _GREEN), _colour(rng, _PALE, _SAND, _SNOW)
    return (np.clip(_mix(one, other, share), 0, 1) * 255 + 0.5).astype(np.uint8)


def _mosaic(rng: Generator, places: Places, side: int, alike: float) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pixels (S, S, 3) of a square grid of scenes, and where each label is visible (L, S, S)."""
    grid = round(len(places.kind) ** 0.5)
    edges = np.arange(grid + 1) * side // grid
    pixels = np.zeros((side, side, 3), np.uint8)
    visible = np.zeros((len(NAMES), side, side), bool)
    tile = -(-side // grid)
    # A tile has its own generator, so that what is drawn in it moves no other.
    for at, own in enumerate(rng.spawn(grid**2)):
        kind, label = places.kind[at], places.label[at]
        if kind == Kind.CONTEXT:
            drawn, seen = _stripes(own, int(label), tile), np.ones((tile, tile), bool)
        else:
            labels = np.zeros(len(NAMES), np.uint8)
            labels[label] = kind != Kind.BACKGROUND
            drawn, masks = _draw(own, labels, tile)
            seen = masks[label]
            if kind == Kind.DISTRACTOR:
                drawn = drawn[::-1]
        row, column = divmod(at, grid)
        where = (slice(edges[row], edges[row + 1]), slice(edges[column], edges[column + 1]))
        cut = (slice(edges[row + 1] - edges[row]), slice(edges[column + 1] - edges[column]))
        pixels[where] = drawn[cut]
        if places.carries[at]:
            visible[(label, *where)] = seen[cut]
    if alike:
        cast = np.exp(alike * rng.normal(0, 0.5, 3))
        pixels = (np.clip(pixels * cast, 0, 255) + 0.5).astype(np.uint8)
    return pixels, visible


class Synthetic:
    """A source of drawn landscapes, or of mosaics of them.

    Args:
        size: number of images n, at least 1.
        seed: which series of images; image i depends on (seed, i) alone, at least 0.
        side: height and width S in pixels, at least 16, or 16 a tile.
        tiles: g, at least 2, draws g x g scenes an image; None draws one.
        characteristics: of :class:`Characteristics`, of mosaics; ``label_noise`` of any image.

    Attributes:
        names: the five labels.
        targets: uint8 (n, L), 1 where a label is present.
        true_targets: the same before ``label_noise``; the test part is judged by them.
        known: bool (n, L), all True.
        split: None, the data comes without one.
        ids: "00000", "00001", ...
        fingerprint: changes whenever a pixel may.

    Raises:
        UserError: an argument is out of its range.
    """

    has_void: ClassVar[bool] = False  # a pixel of no mask has no label

    def __init__(
        self,
        size: int = 2000,
        seed: int = 0,
        side: int = 64,
        tiles: int | None = None,
        characteristics: dict[str, float] | None = None,
    ) -> None:
        for name, value, least in (("size", size, 1), ("seed", seed, 0), ("side", side, 16 * (tiles or 1))):
            if value < least:
                raise UserError(f"data.{name} is {value}", f"Choose {least} or more.")
        if tiles is not None and tiles < 2:
            raise UserError(f"data.tiles is {tiles}", "Choose 2 or more, or null for one scene an image.")
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
        self.split = None
        mosaic = "" if tiles is None else f"-{tiles}-{self.hard}"
        self.fingerprint = f"{type(self).__name__}-{VERSION}-{size}-{seed}-{side}{mosaic}"

    def __len__(self) -> int:
        return self.size

    def read(self, i: int) -> Image.Image:
        """Image i, RGB, S x S."""
        return Image.fromarray(self._drawn(i)[0])

    def masks(self, i: int) -> NDArray[np.bool_]:
        """bool (L, S, S): where each label is visible in image i; empty for absent labels."""
        return self._drawn(i)[1]

    def _drawn(self, i: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        rng, labels = self._begin(i)
        if self.tiles is None:
            return _draw(rng, labels, self.side)
        return _mosaic(rng, arrange(rng, labels, self.tiles**2, self.hard), self.side, self.hard.alike)

    def _begin(self, i: int) -> tuple[Generator, NDArray[np.uint8]]:
        """The generator of image i after its first draw, which is its label set."""
        if not 0 <= i < self.size:
            raise IndexError(f"image {i} of {self.size}")
        rng = np.random.default_rng((self.seed, i))
        return rng, draw_label_set(rng)
