"""Generalised cross-entropy (Zhang and Sabuncu, NeurIPS 2018), of each label: wrong labels count little."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from retdm.losses.cells import read_cells
from retdm.losses.distributed import mean_over_batch
from retdm.ranges import Between


def gce(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    q: Annotated[float, Between(0, 1, with_low=False)] = 0.7,
) -> Tensor:
    """Mean over the known cells of (1 − t^q) ÷ q, t the probability of the cell's value.

    Near q = 0 it is the binary cross-entropy, at q = 1 the absolute error: a cell that is surely wrong has a gradient
    near 0, so that labels flipped by mistake pull less.

    Args:
        logits: (B, L), before the sigmoid.
        target: (B, L) in {0, 1}; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        q: in (0, 1].

    Returns:
        () float32 or wider. Of many processes, this one's share: see :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes, a number out of its range.
    """
    if not 0 < q <= 1:
        raise ValueError(f"q must be in (0, 1], got {q}")
    logits, positive, negative = read_cells(logits, target, known)
    right = F.logsigmoid(torch.where(positive, logits, -logits))
    return mean_over_batch(-torch.expm1(q * right) / q, positive | negative)
