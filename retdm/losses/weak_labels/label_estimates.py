"""The loss of ROLE (Cole et al., CVPR 2021): a network and estimates of the unknown labels learn from each other."""

import torch
import torch.nn.functional as F
from torch import Tensor

from retdm.losses.cells import read_all_cells
from retdm.losses.distributed import gather_rows, mean_over_batch


def label_estimates_loss(
    logits: Tensor,
    estimates: Tensor,
    target: Tensor,
    known: Tensor | None,
    *,
    expected: float | Tensor,
    total: int | None = None,
) -> Tensor:
    """Half the sum of the network's loss and that of the estimates.

    With f = sigmoid(logits) and g = sigmoid(estimates), a known cell's g being its label, the network's loss is that of
    :func:`retdm.losses.weak_labels.expected_positives.expected_positives` plus the mean over all cells of the
    cross-entropy of f against g. The estimates' loss has the same form with f and g exchanged. Neither g in the first
    nor f in the second is differentiated.

    The original lets the estimates of known cells move too, from .995 and .005, and has no known negatives.

    Args:
        logits: (B, L), before the sigmoid.
        estimates: (B, L), before the sigmoid; those of known cells are not read.
        target: (B, L) in {0, 1}; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        expected: k, the positive labels that an image has on average.
        total: rows of the global batch, as of :func:`retdm.losses.distributed.gather_rows`.

    Returns:
        () float32 or wider. Of many processes, this one's share: see :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes.
    """
    logits, positive, unknown = read_all_cells(logits, target, known)
    label = positive.to(logits.dtype)
    estimated = torch.where(unknown, estimates.sigmoid(), label)
    of_network = F.binary_cross_entropy_with_logits(logits, estimated.detach(), reduction="none")
    observed = F.binary_cross_entropy_with_logits(logits, label, reduction="none").masked_fill(unknown, 0)
    of_estimates = F.binary_cross_entropy_with_logits(estimates, logits.detach().sigmoid(), reduction="none")
    cells = of_network + observed + torch.where(unknown, of_estimates, 0)
    counts = [gather_rows(share.sum(1), total).mean() for share in (logits.sigmoid(), estimated)]
    off = sum(((count - expected) / logits.shape[1]) ** 2 for count in counts)
    return (mean_over_batch(cells) + off) / 2
