"""Decision values of any size as scores in [0, 1], and back."""

import numpy as np
from torch import Tensor

from retdm.methods.components.labels import Array


def softsign_score(decision: Tensor) -> Tensor:
    """Scores of the same order, in which a decision value of 0 is 1/2: ``1/2 + f / (2 (1 + |f|))``."""
    return 0.5 + 0.5 * decision / (1 + decision.abs())


def inverse_softsign_score(score: Array) -> Array:
    """The decision value whose :func:`softsign_score` is ``score``, above 0 and below 1."""
    signed = 2 * np.asarray(score, np.float64) - 1
    value: Array = signed / (1 - np.abs(signed))
    return value
