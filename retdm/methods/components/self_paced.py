"""Self-paced weights of losses (Li et al., TNNLS 2018): the higher the loss, the lower the weight, up to a limit λ."""

from typing import Literal

import numpy as np
from scipy.special import expit, xlogy

from retdm.methods.components.labels import Array

Pace = Literal["hard", "linear", "log", "logistic", "none"]
LOG_LIMIT = 0.9  # the λ of the logarithmic scheme, to which losses are rescaled


def cell_weights(loss: Array, limit: Array, pace: Pace) -> Array:
    """The weights in [0, 1] that minimise weight · loss + :func:`regulariser`, λ being ``limit``. All (n, L).

    ``hard``: 1 below λ. ``linear``: 1 − loss / λ. ``log``: ln(r + 0.1) / ln(0.1), r = 0.9 · loss / λ. These three are 0
    from λ on. ``logistic``: (1 + e^−λ) / (1 + e^(loss − λ)). ``none``: 1.
    """
    weights: Array = np.ones_like(loss)
    if pace == "hard":
        weights = (loss < limit).astype(float)
    elif pace == "linear":
        weights = (1 - loss / limit).clip(0)
    elif pace == "log":
        weights = np.log((LOG_LIMIT * loss / limit + 1 - LOG_LIMIT).clip(None, 1)) / np.log(1 - LOG_LIMIT)
    elif pace == "logistic":
        weights = (1 + np.exp(-limit)) * expit(limit - loss)
    return weights


def regulariser(weights: Array, limit: Array, pace: Pace) -> Array:
    """g(v; λ) of each cell: :func:`cell_weights` minimise v · loss + g(v; λ). All (n, L)."""
    found: Array = np.zeros_like(weights)
    if pace == "hard":
        found = -limit * weights
    elif pace == "linear":
        found = limit * (weights**2 / 2 - weights)
    elif pace == "log":
        rest = 1 - LOG_LIMIT
        found = limit / LOG_LIMIT * (rest * weights - rest**weights / np.log(rest))
    elif pace == "logistic":
        above = 1 + np.exp(-limit) - weights
        found = xlogy(above, above) + xlogy(weights, weights) - limit * weights
    return found
