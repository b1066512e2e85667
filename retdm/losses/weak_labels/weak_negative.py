"""Weak assume-negative loss (WAN, Cole et al., CVPR 2021): unknown labels count as absent, but little."""

from torch import Tensor

from retdm.losses.weak_labels.assume_negative import assume_negative

UNKNOWN_AT_THE_PROBE = "absent"


def weak_negative(logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
    """:func:`assume_negative` with 1 ÷ (L − 1) for an unknown cell: of one positive and L − 1 unknown labels both sides
    weigh the same. A single label has weight 1.

    Another weight is ``{name: assume_negative, unknown_weight: 0.1}``.

    Args:
        logits, target, known: as of :func:`assume_negative`.
    """
    return assume_negative(logits, target, known, unknown_weight=1 / max(logits.shape[-1] - 1, 1))
