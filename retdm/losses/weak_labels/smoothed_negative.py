"""Assume-negative loss with smoothed labels (AN-LS, Cole et al., CVPR 2021)."""

from typing import Annotated

from torch import Tensor

from retdm.losses.weak_labels.assume_negative import assume_negative
from retdm.ranges import Between

UNKNOWN_AT_THE_PROBE = "absent"


def smoothed_negative(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    smoothing: Annotated[float, Between(0, 1)] = 0.1,
) -> Tensor:
    """:func:`assume_negative` with smoothed labels.

    Args:
        logits, target, known, smoothing: as of :func:`assume_negative`.
    """
    return assume_negative(logits, target, known, smoothing=smoothing)
