"""Large loss (Kim et al., CVPR 2022): the unknown labels whose absence is believed least are probably present."""

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from retdm.losses.cells import read_all_cells
from retdm.losses.distributed import gather_rows, mean_over_batch
from retdm.ranges import Between

UNKNOWN_AT_THE_PROBE = "absent"


def large_loss(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    way: Literal["reject", "correct"] = "reject",
    rate: Annotated[float, Between(0, 1)] = 0.01,
    epoch: int = 0,
    total: int | None = None,
) -> Tensor:
    """Mean over all cells of the cross-entropy with unknown labels absent, but for those of the largest loss.

    In the first pass there are none. In the next ones ⌈epoch · rate · B·L⌉ of the unknown cells of the global batch
    count nothing (``reject``, LL-R) or as present (``correct``, LL-Ct).

    Args:
        logits: (B, L), before the sigmoid; those of unknown cells count too.
        target: (B, L) in {0, 1}; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        way: what becomes of them.
        rate: Δ, share of all cells by which they grow a pass.
        epoch: passes over the training split before this one.
        total: rows of the global batch, as of :func:`retdm.losses.distributed.gather_rows`.

    Returns:
        () float32 or wider. Of many processes, this one's share: see :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes.
    """
    logits, positive, unknown = read_all_cells(logits, target, known)
    large = large_cells(logits, unknown, epoch * rate, total)
    truth = (positive | large) if way == "correct" else positive
    cost = F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="none")
    return mean_over_batch(cost.masked_fill(large, 0) if way == "reject" else cost)


def large_cells(logits: Tensor, unknown: Tensor, share: float, total: int | None = None) -> Tensor:
    """The unknown cells of the global batch that would cost most if they were absent, (B, L) bool.

    Args:
        logits: (B, L).
        unknown: (B, L) bool.
        share: of all cells, rounded up; 0 gives none. At a tie with the last of them a cell is one too.
        total: rows of the global batch, as of :func:`retdm.losses.distributed.gather_rows`.
    """
    if share <= 0:
        return torch.zeros_like(unknown)
    rivals = gather_rows(logits.detach().masked_fill(~unknown, -torch.inf), total).flatten()  # the loss rises with it
    least = rivals.topk(min(math.ceil(share * rivals.numel()), rivals.numel())).values[-1]
    return unknown & (logits.detach() >= least)
