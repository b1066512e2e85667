"""Thresholds with a guarantee on average: conformal risk control. Notation: n images, L labels.

The loss of an image is the share of its labels that is missed, or of the labels it lacks that is falsely predicted
(``extra``): 0 where it has, or lacks, none. It grows, or falls, with the threshold, and is at most 1. Of all thresholds
with (losses of the n images + 1) / (n + 1) ≤ α the one that predicts least, or most, is taken. Then the expected loss
of another image of the same kind is at most α, and for distinct scores at least about α − 2 / (n + 1). It is an
expectation, over the images that choose as over those that are decided: no promise for one label or one image.

This holds where the n images and those to come are exchangeable under the scores: the network has learnt from neither,
and nothing else was chosen on the n.

Source: Angelopoulos, Bates, Fisch, Lei & Schuster, Conformal Risk Control, 2022 (arXiv 2208.02814), theorem 1.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from retdm.criteria.arrays import Bools, Floats, as_bool, probabilities, relevant_and_known
from retdm.decisions.thresholds import NEVER
from retdm.errors import UserError

Risk = Literal["missed", "extra"]
ROUNDING = 1e-9  # of sums of shares


def images_needed(most: float) -> int:
    """The least number n of images for a risk α: 1 / (n + 1) ≤ α."""
    return math.ceil(1 / most - 1 - ROUNDING)


def check_count(risk: Risk, most: float, n: int) -> None:
    """Raise ``UserError`` where n images are too few for a risk α."""
    if n < (needed := images_needed(most)):
        raise UserError(
            f"{risk}:{most:.15g} needs at least {needed:,} images to choose its threshold on; there are {n:,}",
            "a larger validation split, or a wish that is less strict",
        )


def conformal_threshold(scores: ArrayLike, target: ArrayLike, known: ArrayLike, risk: Risk, most: float) -> float:
    """The threshold under which the expected loss of an image is at most α, see the module.

    It lies midway between two neighbouring scores, on the side where the loss is less.

    Args:
        scores: (n, L) in [0, 1].
        target: (n, L) {0, 1}.
        known: (n, L) bool; other cells are in no loss.
        risk: the loss.
        most: α, in (0, 1).

    Returns:
        In [0, 1], or `NEVER`.

    Raises:
        UserError: n is too small: even without a loss (0 + 1) / (n + 1) > α.
        ValueError: scores outside [0, 1] or NaN, shapes that differ.
    """
    values = probabilities(scores)
    relevant, is_known = relevant_and_known(target, known, values.shape)
    n = len(values)
    check_count(risk, most, n)
    counted, share = _shares(relevant, is_known, risk)
    cells, weights = values[counted], share[counted]
    order = np.argsort(cells if risk == "missed" else -cells, kind="stable")
    over = weights[order].cumsum() > most * (n + 1) - 1 + ROUNDING
    if not over.any():
        return NEVER if risk == "missed" else 0.0
    edge = cells[order][over.argmax()]  # the first score that may not be on the wrong side
    there = values[is_known]
    if risk == "missed":
        below = there[there < edge].max(initial=0.0)
        middle = (edge + below) / 2
        return float(middle if middle > below else edge)
    if not (there > edge).any():
        return NEVER
    above = there[there > edge].min()
    middle = (edge + above) / 2
    return float(middle if middle > edge else above)


def losses(predicted: ArrayLike, target: ArrayLike, known: ArrayLike, risk: Risk) -> Floats:
    """The loss (n,) in [0, 1] of each image, by decided label sets (n, L)."""
    shape = np.shape(predicted)
    relevant, is_known = relevant_and_known(target, known, shape)
    decided = as_bool("predicted", predicted, shape)
    counted, share = _shares(relevant, is_known, risk)
    wrong = counted & (~decided if risk == "missed" else decided)
    return np.asarray(np.where(wrong, share, 0).sum(axis=1))


def _shares(relevant: Bools, known: Bools, risk: Risk) -> tuple[Bools, Floats]:
    """The cells (n, L) that can be wrong, and the share of its image's that each is."""
    counted = relevant if risk == "missed" else known & ~relevant
    share = counted / np.maximum(counted.sum(axis=1, keepdims=True), 1)
    return counted, share
