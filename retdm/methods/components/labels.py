"""What the label sets of training rows say of each label. Notation: n rows, L labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


def smoothed_prior(target: NDArray[Any], known: NDArray[Any]) -> Array:
    """(positives + 1) / (rows + 2) of each label, over the rows where it is known. (n, L) -> (L,)"""
    prior: Array = (((target > 0) & known).sum(0) + 1) / (known.sum(0) + 2)
    return prior


def constant_labels(target: NDArray[Any], known: NDArray[Any]) -> Bools:
    """Labels whose known cells are all alike, so that nothing can be fitted to them. (n, L) -> (L,)"""
    positives = ((target > 0) & known).sum(0)
    alike: Bools = (positives == 0) | (positives == known.sum(0))
    return alike


def constant_scores(target: NDArray[Any], known: NDArray[Any]) -> Array:
    """The score of every row for each constant label, its smoothed prior; NaN for the other labels. (n, L) -> (L,)"""
    return np.where(constant_labels(target, known), smoothed_prior(target, known), np.nan)
