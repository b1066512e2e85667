"""The land and water of a landscape: mountains, hills, sea, plain, desert, rocks."""

import numpy as np

from retdm.data.synthetic.canvas import (
    AUTUMN,
    GREEN,
    PALE,
    ROCK,
    SAND,
    SNOW,
    WATER,
    Array,
    Colour,
    Scene,
    fractal,
    mix,
    pick,
    step,
)


def mountains(s: Scene) -> None:
    """Ranges of sharp peaks, each face lit or in shadow, with rock, gullies and perhaps snow."""
    rng = s.rng
    colour = pick(rng, ROCK, ROCK, ROCK, GREEN, SAND)
    snow = pick(rng, SNOW) if rng.random() < 0.5 else None
    line = rng.uniform(0.15, 0.5)
    ranges = int(rng.integers(1, 4))
    tallest = min(rng.uniform(0.2, 0.5), s.horizon - 0.04)
    for k in range(ranges):
        nearness = (k + 1) / ranges
        height = tallest * (1.0 - 0.4 * k / ranges)
        frequency = rng.uniform(0.9, 2.6) * (1 + 0.3 * k)
        ridge = fractal(rng, s.x * frequency, 0.0, 4, ridged=True)
        massif = fractal(rng, s.x * rng.uniform(0.8, 2.0), 0.0, 1)
        top = height * (0.2 + ridge * (0.35 + 0.6 * massif))
        if s.sunset:  # a pass in which the sun sets
            top = top * (1 - 0.85 * np.exp(-(((s.x - s.sun[0]) / 0.16) ** 2)))
        down = s.below + top
        bend = rng.uniform(0.3, 0.9)
        rock = rng.integers(1 << 31)
        u, v = s.x * (frequency * 3), down * (frequency * 3) * bend
        # The same rock twice, a little apart towards the light: the difference is its slope, so its shade.
        here = fractal(np.random.default_rng(rock), u + v, v, 3, ridged=True)
        there = fractal(np.random.default_rng(rock), u + v + 0.18 * s.side_light, v - 0.12, 3, ridged=True)
        slope = np.clip((here - there) * 3.0, -1, 1)
        shade = np.clip(0.72 + 0.5 * slope, 0.15, 1.3)
        distance = (1 - nearness) * 0.65 + rng.uniform(0.0, 0.3)
        body = s.lit(colour, shade, distance)
        if snow is not None:
            white = step(line * height - down + 0.12 * (here - 0.5), -0.015, 0.015)
            body = mix(body, s.lit(snow, np.clip(shade + 0.15, 0.4, 1.2), distance), white[..., None])
        s.paint(s.edge(down), body, "mountains")


def hills(s: Scene, colour: Colour) -> None:
    """Low round hills, smooth and plain: a distractor for mountains."""
    rng = s.rng
    for k in range(int(rng.integers(1, 3))):
        top = rng.uniform(0.03, 0.11) * fractal(rng, s.x * rng.uniform(1, 3), 0.0, 1)
        n = fractal(rng, s.x * 5, s.y * 5, 2)
        s.paint(s.edge(s.below + top), s.lit(colour, 0.7 + 0.25 * n, 0.5 - 0.3 * k))


def sea(s: Scene) -> None:
    """Water to the horizon: the sky's colours mirrored, streaks of waves that shrink with distance, a glitter."""
    rng = s.rng
    depth = np.maximum(s.below, 0) + 0.035
    u = (s.x - 0.5) / (depth + 0.12) * rng.uniform(0.7, 1.6)
    wave = fractal(rng, u, np.log(depth) * rng.uniform(4.5, 7.0), 3) - 0.5
    deep = pick(rng, WATER) * (0.4 + 0.6 * s.light)
    side = s.image.shape[0]
    up = np.clip(((2 * s.horizon - s.y[:, :1]) * side).astype(np.intp)[:, 0], 0, side - 1)
    mirror = mix(s.image[up], s.haze, 0.3)
    water = mix(deep, mirror, rng.uniform(0.25, 0.65))
    water = water * (1 + rng.uniform(0.7, 1.5) * wave)[..., None]
    if s.sunset or rng.random() < 0.35:  # a path of light towards the sun
        path = np.exp(-(((s.x - s.sun[0]) / (0.05 + rng.uniform(0.1, 0.35) * depth)) ** 2))
        sparkle = path * step(wave, -0.1, 0.25) * rng.uniform(0.4, 0.9)
        water = mix(water, mix(mirror[:1], 1, 0.4), sparkle[..., None])
    if rng.random() < 0.35:  # foam
        crest = rng.uniform(0.2, 0.3)
        water = mix(water, pick(rng, PALE) * s.light, 0.8 * step(wave, crest, crest + 0.08)[..., None])
    water = mix(water, s.haze, (np.exp(-depth * 14) * rng.uniform(0, 0.7))[..., None])
    s.paint(s.edge(s.below, 0.008), water, "sea")


def plain(s: Scene, colour: Colour, second: Colour, start: Array | float = 0.0) -> None:
    """Meadow, gravel, mud, snow or fog below ``start`` (of the horizon): spots and blades, no streaks, no crests."""
    rng = s.rng
    depth = np.maximum(s.below, 0) + 0.08
    scale = rng.uniform(1.5, 3.5)
    n = fractal(rng, (s.x - 0.5) / depth * (scale * 0.5), np.log(depth) * scale, 4)
    shade = 0.65 + 0.5 * (n - 0.5) * rng.uniform(0.3, 1.6) + rng.uniform(0, 0.4) * depth
    if rng.random() < 0.5:  # blades of grass
        blades = fractal(rng, s.x * rng.uniform(14, 26) + n * 2, s.y * rng.uniform(2, 6), 2)
        shade = shade + (blades - 0.5) * np.minimum(depth * 2, 1) * rng.uniform(0.3, 0.8)
    patch = step(n, rng.uniform(0.2, 0.5), rng.uniform(0.6, 0.9))[..., None]
    body = np.clip(shade, 0.1, 1.3)[..., None] * mix(colour, second, patch) * s.light
    fade = np.exp(-depth * rng.uniform(3, 14)) * rng.uniform(0, 0.9)
    s.paint(s.edge(s.below - start), mix(body, s.haze, fade[..., None]))


def desert(s: Scene, start: float) -> None:
    """Dunes one before another: crests with a lit and a shadowed face, ripples across them."""
    rng = s.rng
    colour = pick(rng, SAND, jitter=0.07)
    count = int(rng.integers(2, 5))
    reach = 1.0 - s.horizon - start
    contrast = rng.uniform(0.3, 0.6)
    ripple = rng.uniform(0.07, 0.2)
    for k in range(count):
        near = k / count
        base = start + reach * 0.85 * near**1.4
        amplitude = rng.uniform(0.05, 0.12) * (0.6 + 0.9 * near)
        lit_part = rng.uniform(0.5, 0.75)
        bow = fractal(rng, s.x * 2, 0.0, 2)
        frequency = rng.uniform(0.8, 1.9) / (0.7 + 0.5 * near)
        run = s.x * (frequency * -s.side_light) + bow * 0.5 + rng.random()
        phase = run - np.floor(run)
        profile = np.where(phase < lit_part, phase / lit_part, (1 - phase) / (1 - lit_part)) ** 1.3
        crest = base - amplitude * (profile - 0.3)
        if k == 0:
            crest = np.minimum(crest, start)  # no gap under the horizon
        down = s.below - crest
        wiggle = fractal(rng, s.x * 2, s.y * 5, 2)
        bent = run + rng.uniform(0.5, 1.3) * np.maximum(down, 0) + 0.25 * (wiggle - 0.5) * step(down, 0, 0.1)
        face = bent - np.floor(bent)
        sharp = 0.03 + 0.5 * rng.random() * 0.1
        lit = np.clip((lit_part - face) / sharp, 0, 1) * np.clip(face / sharp, 0, 1)
        rows = np.log(np.maximum(s.below, 0) + 0.15) * rng.uniform(10, 16) + 1.2 * s.x
        waves = np.sin((rows + 1.5 * wiggle) * (2 * np.pi))
        shade = 1.0 - contrast * (1 - lit) + 0.15 * (face - 0.5) + ripple * waves * (0.3 + 0.7 * lit)
        s.paint(s.edge(down), s.lit(colour, np.clip(shade, 0.1, 1.3), 0.45 * (1 - near) ** 2), "desert")


def rocks(s: Scene) -> None:
    """Dark round heaps on the ground, smooth and without trunks: a distractor for trees."""
    rng = s.rng
    colour = pick(rng, ROCK, GREEN, AUTUMN)
    rough = fractal(rng, s.x * 7, s.y * 7, 3, ridged=True) - 0.5
    for foot in np.sort(rng.uniform(0.06, 1.1 - s.horizon, int(rng.integers(1, 6)))).tolist():
        size = (0.05 + 0.22 * foot) * rng.uniform(0.5, 1.3)
        dx = (s.x - rng.random()) / (size * rng.uniform(1.0, 1.8))
        dy = (s.below - foot) / size
        r = dx * dx + np.abs(dy) ** 3 + 0.9 * rough
        shade = np.clip(0.6 - 0.35 * dy + 0.25 * dx * s.side_light + 0.5 * rough, 0.1, 1.2)
        s.paint(s.edge(0.9 - r, 0.15) * s.edge(0.1 - dy, 0.1), s.lit(colour, shade, 0.0))
