"""L2 logistic regression of many labels at once, to its optimum. Notation: n rows, F features, L labels, r axes.

Labels do not depend on each other; they are fitted together because one product of matrices is much cheaper than L of a
matrix and a vector. Two things make the quasi-Newton steps few: the rows are turned to their principal axes, in which
they are uncorrelated, and each coordinate is scaled by the curvature there.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, svd
from scipy.optimize import minimize

from retdm.methods.components.labels import Array, Bools, constant_labels, smoothed_prior

STEPS = 10_000  # at most; some tens are usual, some hundreds where the penalty is weak


def principal_axes(x: Array) -> Array:
    """Orthonormal axes (F, r), r = min(n, F), that span the rows of x (n, F).

    The columns of x @ axes are orthogonal to each other.
    """
    if len(x) < x.shape[1]:
        return np.ascontiguousarray(svd(x, full_matrices=False)[2].T)
    axes: Array = eigh(x.T @ x)[1]
    return axes


def with_ones(x: Array) -> Array:
    """Rows (n, F) with a column of ones behind them, for :func:`fit_lines`."""
    return np.concatenate([x, np.ones((len(x), 1))], 1)


def fit_lines(
    rows: Array,
    target: NDArray[np.bool_],
    known: Bools,
    penalty: float,
    intercept_penalty: float = 0.0,
    *,
    pos_weight: Array | None = None,
    start: Array | None = None,
    tolerance: float = 1e-6,
) -> Array:
    """For each label, the w and b that minimise its log-loss summed over the rows where it is known, plus
    penalty/2 ‖w‖² + intercept_penalty/2 b².

    A constant label has w = 0 and the log-odds of its smoothed prior.

    Args:
        rows: (n, F + 1), the last column ones; on principal axes it goes fastest.
        target: (n, L).
        known: (n, L).
        penalty: above 0.
        intercept_penalty: at least 0.
        pos_weight: (L,), above 0, by which the log-loss of a label's positive rows is multiplied; None: 1.
        start: (L, F + 1), from which to begin: the nearer to the optimum, the sooner that is found.
        tolerance: the optimum is found where no scaled coordinate has a greater slope; the objective is then above its
            least value by about the sum of their squares.

    Returns:
        w and b of each label in one row (L, F + 1).
    """
    fits, prior = ~constant_labels(target, known), smoothed_prior(target, known)
    lines = np.zeros((target.shape[1], rows.shape[1]))
    lines[:, -1] = np.log(prior / (1 - prior))
    if fits.any():
        ridge = np.append(np.full(rows.shape[1] - 1, penalty), intercept_penalty)
        begin = (lines if start is None else start)[fits]
        weight = known[:, fits].astype(np.float64)
        if pos_weight is not None:
            weight *= np.where(target[:, fits], pos_weight[fits], 1)
        lines[fits] = _minimise(rows, target[:, fits], weight, ridge, begin, tolerance)
    return lines


def _minimise(
    rows: Array, target: NDArray[np.bool_], weight: Array, ridge: Array, start: Array, tolerance: float
) -> Array:
    truth, shape = target.astype(np.float64), start.shape

    def losses_and_slopes(w: Array) -> tuple[Array, Array]:
        logits = rows @ w.T
        small = np.exp(-np.abs(logits))
        losses = np.maximum(logits, 0) + np.log1p(small) - truth * logits
        return losses, np.where(logits >= 0, 1, small) / (1 + small) - truth

    likely = losses_and_slopes(start)[1] + truth
    curvature = (likely * (1 - likely) * weight).sum(0) / weight.sum(0)  # of a label, the mean of its rows
    scale = np.sqrt(np.maximum(curvature, np.finfo(float).eps)[:, None] * (weight.T @ rows**2) + ridge)

    def objective(u: Array) -> tuple[float, Array]:
        w = u.reshape(shape) / scale
        losses, slopes = losses_and_slopes(w)
        value = float((losses * weight).sum() + (ridge * w**2).sum() / 2)
        return value, (((slopes * weight).T @ rows + ridge * w) / scale).ravel()

    # Without a limit on the decrease, the last steps would be lost in the rounding of the objective.
    options = {"gtol": tolerance, "ftol": 1e-15, "maxiter": STEPS, "maxfun": 2 * STEPS}
    found = minimize(objective, (start * scale).ravel(), jac=True, method="L-BFGS-B", options=options)
    lines: Array = found.x.reshape(shape) / scale
    return lines
