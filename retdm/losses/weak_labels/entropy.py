"""Entropy maximisation (EM, Zhou et al., ECCV 2022): unknown labels are kept undecided."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from retdm.losses.cells import read_all_cells
from retdm.losses.distributed import mean_over_batch
from retdm.ranges import Between

UNKNOWN_AT_THE_PROBE = "absent_without_negatives"


def entropy_loss(
    logits: Tensor, target: Tensor, known: Tensor | None = None, *, alpha: Annotated[float, Between(0, 1)] = 0.2
) -> Tensor:
    """Mean over all cells of the cross-entropy where known, and of −α·H(p) where not, H the entropy of p and 1 − p.

    It can be below 0. The original has no known negatives; here they count as in BCE.

    Args:
        logits: (B, L), before the sigmoid; those of unknown cells count too.
        target: (B, L) in {0, 1}; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        alpha: weight of the entropy, from 0 to 1.

    Returns:
        () float32 or wider. Of many processes, this one's share: see :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes, a number out of its range.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, got {alpha}")
    logits, positive, unknown = read_all_cells(logits, target, known)
    cost = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
    entropy = F.softplus(logits) - logits * logits.sigmoid()
    return mean_over_batch(torch.where(unknown, -alpha * entropy, cost))
