"""What the label sets of training rows say of each label. Notation: n rows, L labels."""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from retdm.ranges import Above

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
UnknownAtProbe = Literal["left_out", "absent", "absent_without_negatives"]
PosWeight = Literal["none", "balanced", "sqrt"] | list[Annotated[float, Above(0)]]


def smoothed_prior(target: NDArray[Any], known: NDArray[Any]) -> Array:
    """(positives + 1) / (rows + 2) of each label, over the rows where it is known. (n, L) -> (L,)"""
    prior: Array = (((target > 0) & known).sum(0) + 1) / (known.sum(0) + 2)
    return prior


def log_odds_as_read(target: NDArray[Any], known: NDArray[Any], unknown: UnknownAtProbe) -> Array:
    """Log odds of each label's smoothed prior, its unknown cells read as :func:`cells_of_probe` reads them.
    (n, L) -> (L,)"""
    prior = smoothed_prior(np.where(known, target, 0), cells_of_probe(target, known, unknown))
    log_odds: Array = np.log(prior / (1 - prior))
    return log_odds


def constant_labels(target: NDArray[Any], known: NDArray[Any]) -> Bools:
    """Labels whose known cells are all alike, so that nothing can be fitted to them. (n, L) -> (L,)"""
    positives = ((target > 0) & known).sum(0)
    alike: Bools = (positives == 0) | (positives == known.sum(0))
    return alike


def constant_scores(target: NDArray[Any], known: NDArray[Any]) -> Array:
    """The score of every row for each constant label, its smoothed prior; NaN for the other labels. (n, L) -> (L,)"""
    return np.where(constant_labels(target, known), smoothed_prior(target, known), np.nan)


def positive_weights(choice: PosWeight, target: NDArray[Any], known: NDArray[Any]) -> Array:
    """What a positive cell of each label weighs in a loss, where a negative one weighs 1. (n, L) -> (L,)

    Args:
        choice: ``balanced`` is negatives ÷ positives of the known cells, so that both weigh the same in sum; ``sqrt``
            is its square root; ``none`` is 1; a list is taken as it is. A constant label has 1.
        target: (n, L).
        known: (n, L).
    """
    if isinstance(choice, list):
        return np.array(choice, float)
    positives = ((target > 0) & known).sum(0)
    negatives = known.sum(0) - positives
    ratio = np.where(constant_labels(target, known), 1, negatives / np.maximum(positives, 1))
    power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[choice]
    weights: Array = ratio**power
    return weights


def cells_of_probe(target: NDArray[Any], known: NDArray[Any], unknown: UnknownAtProbe) -> Bools:
    """The cells that a probe is fitted to, (n, L); an unknown one among them counts as absent.

    Where a network begins at a probe and its loss reads unknown labels as absent, the probe does too. Of a label
    without a known negative, a probe of the known cells is a constant.

    Args:
        target: (n, L).
        known: (n, L).
        unknown: ``left_out`` takes the known ones, ``absent`` all, ``absent_without_negatives`` the known ones and all
            of a label without a known negative.
    """
    cells: Bools = np.asarray(known, bool)
    if unknown == "absent":
        return np.ones_like(cells)
    if unknown == "absent_without_negatives":
        return cells | ~(cells & (target <= 0)).any(0)
    return cells
