"""Self-paced loss correction (SPLC, Zhang et al., 2021, arXiv 2112.07368): what is scored high counts as present."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from retdm.losses.cells import read_all_cells
from retdm.losses.distributed import mean_over_batch
from retdm.ranges import AtLeast, Between

UNKNOWN_AT_THE_PROBE = "absent"


def splc(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    threshold: Annotated[float, Between(0, 1)] = 0.6,
    gamma: Annotated[float, AtLeast(0)] = 2.0,
    margin: Annotated[float, AtLeast(0)] = 1.0,
    epoch: int = 1,
) -> Tensor:
    """Mean over all cells of the focal cross-entropy with a margin, where unknown labels of a high score are positive.

    A known positive costs −(1 − q)^γ·log q, q = sigmoid(logit − margin). An unknown label scored above the threshold
    costs the same without a margin, as the authors' code has it; every other cell costs −p^γ·log(1 − p). Known
    negatives are never taken for positives.

    Args:
        logits: (B, L), before the sigmoid; those of unknown cells count too.
        target: (B, L) in {0, 1}; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        threshold: of p, above which an unknown label counts as positive.
        gamma: of the focal weight.
        margin: by which the logits of known positives are lowered.
        epoch: passes over the training split before this one; in the first, unknown labels count as absent.

    Returns:
        () float32 or wider. Of many processes, this one's share: see :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes.
    """
    logits, positive, unknown = read_all_cells(logits, target, known)
    logits = torch.where(positive, logits - margin, logits)
    if epoch >= 1:
        positive = positive | (unknown & (logits.detach().sigmoid() > threshold))
    signed = torch.where(positive, logits, -logits)  # log odds of being right
    return mean_over_batch((gamma * F.logsigmoid(-signed)).exp() * -F.logsigmoid(signed))
