"""The trees of a landscape."""

import numpy as np

from retdm.data.synthetic.canvas import AUTUMN, GREEN, Array, Colour, Scene, fractal, pick, step


def trees(s: Scene, room: float) -> None:
    """A forest's edge, conifers, or broad crowns on trunks; ``room`` is the share of the width a forest may fill."""
    rng = s.rng
    colour = pick(rng, GREEN, GREEN, AUTUMN, jitter=0.06) * rng.uniform(0.35, 1.1)
    leaves = fractal(rng, s.x * 15, s.y * 15, 2)
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


def _forest(s: Scene, colour: Colour, leaves: Array, room: float) -> None:
    rng = s.rng
    foot, tall = rng.uniform(0.02, 0.15), rng.uniform(0.12, 0.28)
    spiky = rng.random() < 0.5
    run = s.x * rng.uniform(9, 18) + fractal(rng, s.x * 5, 0.0, 2) * 2
    phase = np.abs(2 * (run - np.floor(run)) - 1)  # 0 in the middle of a tree, 1 between two
    head = 1 - phase if spiky else np.sqrt(np.maximum(1 - phase * phase, 0))
    width = rng.uniform(0.5, 1.0) * room
    middle = (s.sun[0] + 0.5) % 1 if s.sunset else rng.random()
    inside = s.edge((width / 2 + 0.02) - np.abs(s.x - middle), 0.05)
    crown = tall * (0.35 + 0.3 * fractal(rng, s.x * 4, 0.0, 3) + 0.35 * head) * inside
    down = s.below - foot + crown + 0.05 * (leaves - 0.5)
    shade = 0.55 + 0.9 * (leaves - 0.5) - 0.35 * phase + 0.3 * step(-down, -0.08, 0.0)
    body = s.lit(colour, np.clip(shade, 0.08, 1.2), rng.uniform(0, 0.25))
    s.paint(s.edge(down, 0.02) * s.edge(foot - s.below, 0.03) * inside, body, "trees")


def _conifer(s: Scene, colour: Colour, leaves: Array, middle: float, foot: float, tall: float) -> None:
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


def _broadleaf(s: Scene, colour: Colour, leaves: Array, middle: float, foot: float, tall: float) -> None:
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
