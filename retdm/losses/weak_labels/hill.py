"""Hill loss (Zhang et al., 2021, arXiv 2112.07368): what is scored high though it is labelled absent counts less."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from retdm.losses.cells import read_all_cells
from retdm.losses.distributed import mean_over_batch
from retdm.ranges import AtLeast

UNKNOWN_AT_THE_PROBE = "absent"


def hill(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    gamma: Annotated[float, AtLeast(0)] = 2.0,
    margin: Annotated[float, AtLeast(0)] = 1.0,
    peak: Annotated[float, AtLeast(1)] = 1.5,
) -> Tensor:
    """Mean over all cells of −(1 − q)^γ·log q for positives, q = sigmoid(logit − margin), else of (peak − p)·p².

    Unknown labels and known negatives count alike, as absent: it is made for labels of which positives are missing.

    Args:
        logits: (B, L), before the sigmoid; those of unknown cells count too.
        target: (B, L) in {0, 1}; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        gamma: of the focal weight of positives.
        margin: by which the logits of positives are lowered.
        peak: λ; at the default the gradient of a negative is greatest at p = ½ and 0 at p = 1.

    Returns:
        () float32 or wider. Of many processes, this one's share: see :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes.
    """
    logits, positive, _ = read_all_cells(logits, target, known)
    shifted, p = logits - margin, logits.sigmoid()
    focal = (gamma * F.logsigmoid(-shifted)).exp() * -F.logsigmoid(shifted)
    return mean_over_batch(torch.where(positive, focal, (peak - p) * p**2))
