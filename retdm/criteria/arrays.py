"""Checks of the criteria's input, and their means. Notation: n images, L labels."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def probabilities(scores: ArrayLike) -> Floats:
    """Return scores as float64 (n, L).

    Raises:
        ValueError: not two-dimensional, NaN, or a value outside [0, 1]. Logits are refused: a sigmoid of them could
            saturate and turn distinct scores into ties.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"scores must have shape (n, L); they have shape {values.shape}")
    if values.size:
        low, high = float(values.min()), float(values.max())  # both are NaN where any cell is
        if np.isnan(low):
            raise ValueError(f"scores hold NaN in {int(np.isnan(values).sum())} of {values.size} cells")
        if low < 0 or high > 1:
            raise ValueError(f"scores must be probabilities in [0, 1], never logits; they lie in [{low:g}, {high:g}]")
    return values


def as_bool(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Bools:
    """Return zeros and ones, or booleans, as bool of this shape; ValueError for anything else."""
    array = np.asarray(values)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    if array.dtype == np.bool_:
        return array
    if not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must hold only 0 and 1")
    ones: Bools = array == 1
    return ones


def relevant_and_known(target: ArrayLike, known: ArrayLike, shape: tuple[int, ...]) -> tuple[Bools, Bools]:
    """Return ``target`` and ``known`` as bool (n, L), with False in every unknown cell of the target."""
    is_known = as_bool("known", known, shape)
    values = np.asarray(target)
    if values.shape != shape:
        raise ValueError(f"target has shape {values.shape}, expected {shape}")
    return as_bool("target", np.where(is_known, values, 0), shape), is_known


def mean(values: Floats) -> float | None:
    """Return the mean of the defined values (NaN is undefined); None where there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else None


def ratio(above: Floats | Ints, below: Floats | Ints) -> Floats:
    """Divide ``above`` by ``below``; NaN where ``below`` is 0."""
    out = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=out, where=np.asarray(below) != 0)
    return out
