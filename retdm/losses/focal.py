"""Focal loss (Lin et al., ICCV 2017): cross-entropy in which cells that are right already count little."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from retdm.losses.cells import read_cells
from retdm.losses.distributed import mean_over_batch
from retdm.ranges import AtLeast, Between


def focal_loss(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    gamma: Annotated[float, AtLeast(0)] = 2.0,
    alpha: Annotated[float, Between(0, 1)] | None = 0.25,
) -> Tensor:
    """Mean over the known cells of the global batch of −alpha_t (1 − p_t)^gamma log p_t (eq. 5).

    p_t is the probability of a cell's true value; alpha_t is ``alpha`` for a positive cell and 1 − alpha for a negative
    one. The defaults are the paper's. Without alpha and with gamma 0 this is
    :func:`retdm.losses.binary_cross_entropy`.

    Args:
        logits: (B, L), before the sigmoid.
        target: (B, L) in {0, 1}, any type; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        gamma: at least 0.
        alpha: from 0 to 1; None weighs positive and negative cells alike, 1 each.

    Returns:
        () float32 or wider; 0, with a graph, where no cell is known. Of many processes, this one's share: see
        :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes, or a number out of its range.
    """
    if not gamma >= 0:
        raise ValueError(f"gamma must be at least 0, got {gamma}")
    if alpha is not None and not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    logits, positive, _ = read_cells(logits, target, known)
    cost = focal_cost(logits, positive, gamma)
    if alpha is not None:
        cost = torch.where(positive, alpha * cost, (1 - alpha) * cost)
    return mean_over_batch(cost, known)


def focal_cost(logits: Tensor, positive: Tensor, gamma: float) -> Tensor:
    """−(1 − p_t)^gamma log p_t of each cell, (B, L) of the logits' type; ``positive`` is bool (B, L)."""
    cost = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
    # A power as exp(gamma · log): its gradient is finite where 1 − p_t is 0.
    return cost * (gamma * F.logsigmoid(torch.where(positive, -logits, logits))).exp()
