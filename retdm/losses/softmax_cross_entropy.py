"""Softmax cross-entropy against the label set as a distribution (Gong et al., ICLR 2014)."""

from torch import Tensor

from retdm.losses.cells import read_cells
from retdm.losses.distributed import mean_over_batch


def softmax_cross_entropy(logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean over images of the mean over an image's labels of −log softmax(logits).

    The softmax runs over the known labels of an image. Images without a known positive label are left out of the mean.

    Args:
        logits: (B, L).
        target: (B, L) in {0, 1}, any type; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.

    Returns:
        () float32 or wider; 0, with a graph, where no image counts. Of many processes, this one's share: see
        :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes.
    """
    logits, positive, negative = read_cells(logits, target, known)
    labels = positive.sum(1)
    among = positive | negative | (labels == 0)[:, None]  # a softmax over no label would be NaN
    log_softmax = logits.masked_fill(~among, float("-inf")).log_softmax(1)
    return mean_over_batch(-log_softmax.where(positive, 0).sum(1) / labels.clamp(min=1), labels > 0)
