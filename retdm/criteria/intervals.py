"""Intervals of the criteria by the bootstrap over images. Notation: n images, L labels, B resamples.

An interval says how far a result would move with other test images of the same kind, not with another training.

It is that of the percentiles, moved by twice the bias that the resamples show, their mean minus the value itself (Efron
& Tibshirani, An Introduction to the Bootstrap, 1993, ch. 10 and 13). The bias is 0 for most criteria. Average precision
comes out too high where a label is rare, of the images as of their resamples, so that the resamples' percentiles alone
lie above the true value: those of mAP have it inside in half of all trials with 40 labels of 15 positives each, and in
almost nine of ten where they are moved.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from retdm.criteria import calibration
from retdm.criteria.arrays import Floats
from retdm.criteria.evaluate import CRITERIA
from retdm.criteria.resampling import RESAMPLES, Resampled, resample

LEVEL = 0.95


class Interval(NamedTuple):
    """The middle share of a criterion's values over resamples."""

    low: float
    high: float


class Difference(NamedTuple):
    """A criterion of one set of scores minus that of another, of the same images.

    Attributes:
        value: of all images.
        interval: of the bootstrap over images.
        p: two-sided probability of a difference as far from 0, were there none; at least 2 / (B + 1).
    """

    value: float
    interval: Interval
    p: float


class Intervals(NamedTuple):
    """Intervals of everything that `evaluate` computes.

    Attributes:
        criteria: by name, in the order of `CRITERIA`; None where a criterion has none.
        per_label: of ``P``, ``R``, ``F1`` and ``AP``: (L, 2) low and high; NaN where a label has none.
    """

    criteria: dict[str, Interval | None]
    per_label: dict[str, Floats]


def bootstrap_intervals(
    scores: ArrayLike,
    target: ArrayLike,
    known: ArrayLike,
    predicted: ArrayLike,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Intervals:
    """Compute the interval of every criterion over resamples of the images; a function of its arguments alone.

    All criteria are computed of the same resamples. A resample in which a criterion is undefined (a label without a
    positive, no image with a pair) is left out of its percentiles; where that is more than half of them, the criterion
    has no interval. The means over labels take those that are defined in the resample, as `evaluate` does. Few
    positives make the interval of a label too narrow: with 10, it covers the true value less often than ``level`` says.

    Args:
        scores: (n, L) probabilities in [0, 1].
        target: (n, L) {0, 1}; read in known cells only.
        known: (n, L) bool; an unknown cell counts in no criterion.
        predicted: (n, L) bool, the decided label sets (`decide`).
        level: share of resamples inside the interval, between 0 and 1.
        resamples: B, at least 1.
        seed: of the drawing.

    Raises:
        ValueError: scores outside [0, 1] or NaN, shapes that differ, a level outside (0, 1), no resample.
    """
    _check(level)
    return intervals_of(resample(scores, target, known, predicted, resamples=resamples, seed=seed), level)


def intervals_of(found: Resampled, level: float = LEVEL) -> Intervals:
    """The intervals of what `resample` found.

    Raises:
        ValueError: a level outside (0, 1).
    """
    labels = found.per_label["AP"].shape[1]
    none = np.full(1, np.nan)
    of_criteria = {name: interval(found.criteria.get(name, none), level, _greatest(name, labels)) for name in CRITERIA}
    of_labels = {
        key: np.array([interval(column, level) or (np.nan, np.nan) for column in values.T]).reshape(-1, 2)
        for key, values in found.per_label.items()
    }
    return Intervals(of_criteria, of_labels)


def interval(values: Floats, level: float = LEVEL, greatest: float = 1, least: float = 0) -> Interval | None:
    """The middle ``level`` of resampled values, moved by twice their bias; None where fewer than half are defined.

    Args:
        values: (1 + B,) of all images, then of each resample; NaN is undefined.
        level: between 0 and 1.
        greatest, least: that a value can be.

    Raises:
        ValueError: a level outside (0, 1).
    """
    _check(level)
    moved = _moved(values)
    if moved is None:
        return None
    ends = np.quantile(moved, [(1 - level) / 2, (1 + level) / 2])
    return Interval(*map(float, np.clip(ends, least, greatest)))


def paired_difference(first: Floats, second: Floats, level: float = LEVEL) -> Difference | None:
    """The paired bootstrap of a difference: each resample draws the same images for both.

    Its interval is that of `interval`, and p twice the share of differences, moved as there, on the other side of 0
    (Efron & Tibshirani, 1993, ch. 15). It knows of the images alone: two trainings of one method differ too.

    Args:
        first, second: (1 + B,) values of one criterion that `resample` gave of two sets of scores of the same images.
        level: of the interval, between 0 and 1.

    Returns:
        None where fewer than half of the differences are defined.
    """
    _check(level)
    moved = _moved(first - second)
    if moved is None:
        return None
    ends = interval(first - second, level, np.inf, -np.inf)
    assert ends is not None
    other_side = min((moved <= 0).sum(), (moved >= 0).sum())
    return Difference(float(first[0] - second[0]), ends, min(1.0, float(2 * (1 + other_side) / (1 + moved.size))))


def _moved(values: Floats) -> Floats | None:
    """The defined ones of resampled values, moved by twice their bias; None where they are fewer than half."""
    value, resampled = values[0], values[1:]
    defined = resampled[~np.isnan(resampled)]
    if np.isnan(value) or 2 * defined.size < resampled.size:
        return None
    moved: Floats = defined - 2 * (defined.mean() - value)
    return moved


def _check(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level={level} lies outside (0, 1)")


def _greatest(criterion: str, labels: int) -> float:
    if criterion == "log_loss":
        return -float(np.log(calibration.EDGE))
    return labels - 1 if criterion == "coverage" else 1
