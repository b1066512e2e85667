"""Unknown labels taken as absent (Cole et al., CVPR 2021): plainly, weighed down, or with smoothed labels."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from retdm.losses.cells import read_all_cells
from retdm.losses.distributed import mean_over_batch
from retdm.ranges import AtLeast, Between

UNKNOWN_AT_THE_PROBE = "absent"


def assume_negative(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    unknown_weight: Annotated[float, AtLeast(0)] = 1.0,
    smoothing: Annotated[float, Between(0, 1)] = 0.0,
) -> Tensor:
    """Mean over all cells of the binary cross-entropy, where an unknown label counts as absent.

    The plain form (AN) is the baseline that others are compared with. Where all cells are known and nothing is
    smoothed, this is :func:`retdm.losses.binary_cross_entropy`.

    Args:
        logits: (B, L), before the sigmoid; those of unknown cells count too.
        target: (B, L) in {0, 1}; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        unknown_weight: of an unknown cell, where a known one weighs 1.
        smoothing: share ε of each cell's target that the other value has: 1 − ε for positives, ε for the others.

    Returns:
        () float32 or wider. Of many processes, this one's share: see :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes, a number out of its range.
    """
    if not unknown_weight >= 0:
        raise ValueError(f"unknown_weight must be at least 0, got {unknown_weight}")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing must be in [0, 1], got {smoothing}")
    logits, positive, unknown = read_all_cells(logits, target, known)
    truth = positive.to(logits.dtype) * (1 - 2 * smoothing) + smoothing
    cost = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return mean_over_batch(torch.where(unknown, unknown_weight * cost, cost))
