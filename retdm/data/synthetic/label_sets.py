"""The five labels of drawn data, in the label sets of MIML Scene."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

NAMES = ["desert", "mountains", "sea", "sunset", "trees"]

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
