"""Asymmetric loss (ASL, Ben-Baruch, Ridnik et al., ICCV 2021): easy negatives count little or nothing."""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from retdm.losses.cells import read_cells
from retdm.losses.distributed import mean_over_batch
from retdm.ranges import AtLeast, Between


def asymmetric_loss(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    gamma_positive: Annotated[float, AtLeast(0)] = 0.0,
    gamma_negative: Annotated[float, AtLeast(0)] = 4.0,
    clip: Annotated[float, Between(0, 1, with_high=False)] = 0.05,
    detach: bool = False,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Mean over the known cells of the global batch of the focal, for negatives shifted, cross-entropy.

    With p = sigmoid(logit) and m = max(0, p − clip), a positive cell costs −(1 − p)^gamma_positive · log p, a negative
    one −m^gamma_negative · log(1 − m): nothing, and without a gradient, below the clip. Where both gammas and the clip
    are 0 this is :func:`retdm.losses.binary_cross_entropy`. The original sums over cells and images, which is this
    mean times B·L; the defaults are those of its training on COCO. It raises probabilities, so 0.5 is a poor threshold.

    Args:
        logits: (B, L), before the sigmoid.
        target: (B, L) in {0, 1}, any type; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        gamma_positive: at least 0.
        gamma_negative: at least 0.
        clip: in [0, 1).
        detach: the focal weights (1 − p)^gamma and m^gamma are taken as constants by the gradient.
        reduction: "mean" over cells, or "sum": the mean over cells times L, as in ``binary_cross_entropy``.

    Returns:
        () float32 or wider; 0, with a graph, where no cell is known. Of many processes, this one's share: see
        :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes, a number out of its range, an unknown reduction.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    for name, gamma in (("gamma_positive", gamma_positive), ("gamma_negative", gamma_negative)):
        if not gamma >= 0:
            raise ValueError(f"{name} must be at least 0, got {gamma}")
    if not 0 <= clip < 1:
        raise ValueError(f"clip must be in [0, 1), got {clip}")

    logits, positive, _ = read_cells(logits, target, known)
    cost = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
    # Powers as exp(gamma · log): their gradient is finite at 0 for every gamma.
    weight = torch.where(positive, gamma_positive * F.logsigmoid(-logits), gamma_negative * F.logsigmoid(logits)).exp()
    if clip > 0:
        shifted = logits.sigmoid() - clip
        counts = shifted > 0
        clipped = -((-logits).sigmoid() + clip).log()
        cost = torch.where(positive, cost, clipped.where(counts, 0))
        weight = torch.where(positive, weight, shifted.where(counts, 1).pow(gamma_negative))
    cells = cost * (weight.detach() if detach else weight)
    mean = mean_over_batch(cells, known)
    return mean * logits.shape[1] if reduction == "sum" else mean
