"""Support vector machines of one label each, fitted by scikit-learn.

Notation: n training rows, F features, L labels, T support rows (of some label's machine), B rows to score.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.svm import SVC
from torch import Tensor

from retdm.methods.components.labels import Array, Bools, constant_labels, smoothed_prior
from retdm.methods.components.softsign import inverse_softsign_score

SMALL = 300_000  # numbers in the rows, up to which threads cost more than they gain
CHUNK = 1 << 22  # kernel values that are held at once


class Machines(NamedTuple):
    """f_l(x) = sum over the training rows of duals_l k(row, x) + intercepts_l.

    Attributes:
        duals: (L, n), 0 for rows that do not support the label's machine, and for a constant label.
        intercepts: (L,); of a constant label :func:`inverse_softsign_score` of its smoothed prior.
    """

    duals: Array
    intercepts: Array

    @property
    def support(self) -> NDArray[np.int64]:
        """Numbers (T,) of the training rows that support some machine."""
        return np.flatnonzero((self.duals != 0).any(0))


def fit_machines(
    x: Array,
    target: NDArray[Any],
    known: NDArray[Any],
    *,
    kernel: Literal["rbf", "precomputed"] = "rbf",
    C: float = 1.0,
    gamma: float = 1.0,
) -> Machines:
    """One C-SVM a label, on the rows where it is known.

    Args:
        x: (n, F), or with ``precomputed`` the kernel matrix (n, n).
        target: (n, L) of 0 and 1.
        known: (n, L).
        C: weight of the hinge losses.
        gamma: of exp(-gamma ||x - x'||²).
    """
    fits = np.flatnonzero(~constant_labels(target, known))
    duals, intercepts = np.zeros(target.T.shape), inverse_softsign_score(smoothed_prior(target, known))
    model = SVC(kernel=kernel, C=C, gamma=gamma, cache_size=500)
    # libsvm lets other threads run and draws nothing.
    jobs = -1 if x.size > SMALL else 1
    places = [np.flatnonzero(known[:, j]) for j in fits]
    found = Parallel(n_jobs=jobs, prefer="threads")(
        delayed(_fit)(model, x, rows, target[rows, j] > 0) for rows, j in zip(places, fits, strict=True)
    )
    for (support, dual, intercept), rows, j in zip(found, places, fits, strict=True):
        duals[j, rows[support]] = dual
        intercepts[j] = intercept
    return Machines(duals, intercepts)


def _fit(settings: SVC, x: Array, rows: NDArray[np.int64], positive: Bools) -> tuple[Any, Any, float]:
    model = SVC(**settings.get_params())
    chosen = x[rows][:, rows] if model.kernel == "precomputed" else x[rows]
    model.fit(chosen, positive)
    return model.support_, model.dual_coef_[0], float(model.intercept_[0])


def scale_of(x: Array) -> float:
    """scikit-learn's ``gamma="scale"``: 1 / (F times the variance of all numbers); 1 where they never change."""
    variance = float(x.var())
    return 1 / (x.shape[1] * variance) if variance > 0 else 1.0


def rbf_decision(rows: Tensor, support: Tensor, duals: Tensor, intercepts: Tensor, gamma: float | Tensor) -> Tensor:
    """Decision values (B, L) of rows (B, F), from support (T, F), duals (L, T) and intercepts (L,); all float64."""
    chunk = max(1, CHUNK // max(1, len(support)))
    squares = (support**2).sum(1)
    found = []
    for part in rows.split(chunk):
        distance = (part**2).sum(1, keepdim=True) + squares - 2 * part @ support.T
        found.append(torch.exp(-gamma * distance.clamp(min=0)) @ duals.T + intercepts)
    return torch.cat(found)
