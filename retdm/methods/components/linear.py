"""Linear classifiers, one a label. Notation: n rows, F features, L labels."""

from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from retdm.methods.components.labels import Array, Bools, constant_labels, smoothed_prior


def logistic_lines(
    model: LogisticRegression, x: Array, target: NDArray[Any], known: Bools, jobs: int = 1
) -> tuple[Array, Array]:
    """Coefficients (L, F) and intercepts (L,) of a logistic regression of each label on the rows where it is known.

    A constant label has coefficients of 0 and the log odds of its smoothed prior.

    Args:
        model: with its settings.
        x: (n, F).
        target, known: (n, L).
        jobs: processes; -1 takes a core each.
    """
    fits = np.flatnonzero(~constant_labels(target, known))
    found = Parallel(n_jobs=jobs)(delayed(_line)(model, x, target[:, j], known[:, j]) for j in fits)
    prior = smoothed_prior(target, known)
    coefficients, intercepts = np.zeros((target.shape[1], x.shape[1])), np.log(prior / (1 - prior))
    for j, (line, intercept) in zip(fits, found, strict=True):
        coefficients[j], intercepts[j] = line, intercept
    return coefficients, intercepts


def _line(model: LogisticRegression, x: Array, target: NDArray[Any], known: Bools) -> tuple[Array, float]:
    model.fit(x if known.all() else x[known], target[known] > 0)
    return model.coef_[0].copy(), float(model.intercept_[0])
