"""The sky of a landscape: its colours, sun or moon, clouds."""

import numpy as np

from retdm.data.synthetic.canvas import DUSK, PALE, SNOW, WARM, Colour, Scene, fractal, mix, pick, step
from retdm.data.synthetic.label_sets import NAMES


def sky(s: Scene, zenith: Colour, band: Colour) -> None:
    rng = s.rng
    height = np.clip(-s.below / (s.horizon + 0.1), 0, 1)
    s.image[:] = mix(band, zenith, (height ** rng.uniform(0.4, 1.1))[..., None])
    if s.sunset:
        _low_sun(s)
    elif s.horizon > 0.35 and rng.random() < 0.4:  # a high sun or moon
        d = np.hypot(s.x - s.sun[0], s.y - s.sun[1])
        radius, pale = rng.uniform(0.02, 0.05), pick(rng, PALE, SNOW, WARM)
        s.paint(0.6 * np.exp(-d / rng.uniform(0.03, 0.09)), mix(pale, 1, 0.4))
        s.paint(s.edge(radius - d), mix(pale, 1, 0.7))
    _clouds(s, zenith)


def _low_sun(s: Scene) -> None:
    rng = s.rng
    wide, flat = rng.uniform(0.2, 0.38), rng.uniform(0.5, 0.8)
    d = np.hypot(s.x - s.sun[0], (s.y - s.sun[1]) / flat)
    glow = np.exp(-((d / wide) ** 2))
    warm = pick(rng, WARM)
    s.paint(rng.uniform(0.7, 1.0) * glow, warm)
    core = np.exp(-((d / (wide * rng.uniform(0.3, 0.5))) ** 2))
    bright = mix(warm, np.array([1, 0.93, 0.7], dtype=np.float32), rng.uniform(0.5, 0.9))
    s.paint(rng.uniform(0.7, 1.0) * core, bright)
    disc = np.hypot(s.x - s.sun[0], s.y - s.sun[1])
    s.paint(s.edge(rng.uniform(0.035, 0.075) - disc), mix(bright, 1, rng.uniform(0.2, 0.9)))
    s.visible[NAMES.index("sunset")] = glow > 0.4


def _clouds(s: Scene, zenith: Colour) -> None:
    rng = s.rng
    visible = s.visible.copy()
    thin = np.ones_like(s.y)
    if s.sunset:  # clouds let the sun through, or the label could not be seen
        thin -= 0.85 * np.exp(-((np.hypot(s.x - s.sun[0], s.y - s.sun[1]) / 0.14) ** 2))
    if rng.random() < 0.8:
        depth = np.log(np.maximum(-s.below, 0) + 0.08)
        n = fractal(rng, s.x * rng.uniform(2, 5) + depth, depth * rng.uniform(2, 5), 4)
        cover = rng.uniform(0.35, 0.75)
        alpha = thin * step(n, cover, cover + rng.uniform(0.1, 0.4)) * rng.uniform(0.4, 0.9)
        tone = pick(rng, WARM, DUSK) if s.sunset else pick(rng, PALE, SNOW, DUSK, PALE)
        s.paint(alpha, mix(zenith * 0.8, tone, n[..., None]))
    if rng.random() < 0.25:  # a cloud bank: round heads over the horizon, a distractor for mountains
        heads = np.sqrt(fractal(rng, s.x * rng.uniform(3, 6), 0.0, 3))
        above = s.below + rng.uniform(0.05, 0.22) * heads
        n = fractal(rng, s.x * 7, s.y * 9, 3)
        shade = np.clip(0.6 + 0.5 * n - 0.8 * above, 0, 1.1)
        alpha = thin * s.edge(above, 0.04) * rng.uniform(0.6, 0.9)
        s.paint(alpha, shade[..., None] * mix(pick(rng, PALE), s.haze, 0.4))
    s.visible[:] = visible  # a sunset stays one behind its clouds
