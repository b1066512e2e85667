"""Features brought to a common scale. Notation: n rows, F features.

Two ways to measure a deviation stay side by side because their last digits differ: of an array in memory by NumPy, and
of blocks that are read one after the other by scikit-learn, which also takes a deviation within rounding of 0 for 0.
"""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retdm.methods.components.labels import Array

Scale = Literal["minmax", "standard", "none"]


def mean_and_deviation(x: Array, wanted: bool = True) -> tuple[Array, Array]:
    """Of each feature of x (n, F), (F,) each: the deviation is 1 for a feature that never changes; 0 and 1 where not
    ``wanted``."""
    if not wanted:
        return np.zeros(x.shape[1]), np.ones(x.shape[1])
    mean, deviation = x.mean(0), x.std(0)
    deviation[(deviation == 0) | (x == x[:1]).all(0)] = 1  # rounding may leave a constant feature a deviation
    return mean, deviation


def standardised(x: Array, wanted: bool = True) -> tuple[Array, Array, Array]:
    """x (n, F) less its mean, divided by its deviation, which follow (F,) each; x itself where not ``wanted``."""
    mean, deviation = mean_and_deviation(x, wanted)
    return (x - mean) / deviation if wanted else x, mean, deviation


def shift_and_spread(scale: Scale, blocks: Iterable[NDArray[Any]]) -> tuple[Array, Array]:
    """The numbers to subtract from each feature, and those to divide it by afterwards, (F,) each.

    Args:
        scale: ``minmax`` takes features to [0, 1], ``standard`` to mean 0 and deviation 1; a feature that never changes
            is not divided. ``none`` leaves them.
        blocks: of rows (n, F), at least one.
    """
    from sklearn.preprocessing import MinMaxScaler, StandardScaler  # takes a second, and few methods need it

    minmax, standard, width = MinMaxScaler(), StandardScaler(), 0
    for block in blocks:
        width = block.shape[1]
        if scale == "minmax":
            minmax.partial_fit(block.astype(np.float64))
        elif scale == "standard":
            standard.partial_fit(block.astype(np.float64))
        else:
            break
    if scale == "minmax":
        return minmax.data_min_, 1 / minmax.scale_
    if scale == "standard":
        return standard.mean_, standard.scale_
    return np.zeros(width), np.ones(width)
