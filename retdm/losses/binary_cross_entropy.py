"""Binary cross-entropy of every label (BCE)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from retdm.losses.cells import check_cells
from retdm.losses.distributed import mean_over_batch

TAKES_MIXED_TARGETS = True  # linear in the targets


def binary_cross_entropy(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    pos_weight: Tensor | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Mean over the known cells of the global batch of −w·y·log p − (1 − y)·log(1 − p), p the sigmoid of the logit.

    The mean is over cells, whatever they weigh.

    Args:
        logits: (B, L), before the sigmoid.
        target: (B, L) in [0, 1], any type; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        pos_weight: (L,), at least 0, the w of each label's positive cells; None weighs them 1.
        reduction: "mean" over cells, or "sum": the mean over cells times L. Where all is known that is the sum over
            labels averaged over images; unknown cells lower neither, so both stay comparable between batches.

    Returns:
        () float32 or wider; 0, with a graph, where no cell is known. Of many processes, this one's share: see
        :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes or an unknown reduction.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    check_cells(logits, target, known)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    target = target.to(logits.dtype)
    if known is not None:  # 0 · NaN is NaN: a weight of 0 alone would not keep an unknown cell out
        logits, target = logits.where(known, 0), target.where(known, 0)
    cost = F.binary_cross_entropy_with_logits(logits, target, pos_weight=pos_weight, reduction="none")
    mean = mean_over_batch(cost, known)
    return mean * logits.shape[1] if reduction == "sum" else mean
