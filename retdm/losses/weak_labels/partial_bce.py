"""Partial binary cross-entropy (Durand et al., CVPR 2019): an image of which less is known weighs more a cell."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from retdm.losses.cells import read_cells
from retdm.losses.distributed import mean_over_batch
from retdm.ranges import Above, AtMost


def partial_bce(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    alpha: Annotated[float, AtMost(1)] = -4.45,
    gamma: Annotated[float, Above(0)] = 1.0,
) -> Tensor:
    """Mean over images of g(s) ÷ L times the cross-entropy summed over the image's known cells, s their share.

    g(s) = α·s^γ + 1 − α, so that an image of which all is known has g = 1. Where all is known, this is
    :func:`retdm.losses.binary_cross_entropy`. With γ = 1, α = −1 ÷ s is the mean over known cells.

    Args:
        logits: (B, L), before the sigmoid.
        target: (B, L) in {0, 1}; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        alpha: at most 1; the authors' gives g(0.1) = 5.
        gamma: above 0.

    Returns:
        () float32 or wider. Of many processes, this one's share: see :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes, a number out of its range.
    """
    if not (alpha <= 1 and gamma > 0):
        raise ValueError(f"alpha must be at most 1 and gamma above 0, got {alpha} and {gamma}")
    logits, positive, negative = read_cells(logits, target, known)
    given = positive | negative
    cost = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
    share = given.to(logits.dtype).mean(1)
    return mean_over_batch((alpha * share**gamma + 1 - alpha) * torch.where(given, cost, 0).mean(1))
