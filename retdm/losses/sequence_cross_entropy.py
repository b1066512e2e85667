"""Cross-entropy of label sequences (CNN-RNN, Wang et al., CVPR 2016)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from retdm.losses.distributed import mean_over_batch

PADDING = -1


def sequence_cross_entropy(logits: Tensor, sequence: Tensor) -> Tensor:
    """Mean over the sequences of the global batch of the sum over steps of −log softmax(logits)[the step's label].

    The sum over an image's steps, the end included, is −log of the probability of its path, which a beam search
    compares; a mean over steps would count an image as often as it has labels. A row of padding alone is no sequence
    and is left out of the mean; the sequence of an image without labels is the end alone.

    Args:
        logits: (B, T, L + 1), the last one for the end; −inf for a label that cannot follow, never for the one that
            does. What stands in a padded step, NaN included, is never read.
        sequence: (B, T) int64: labels in order, then L for the end, then −1.

    Returns:
        () float32 or wider; 0, with a graph, where there is no sequence. Of many processes, this one's share: see
        :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: shapes that do not fit together, a sequence that is not int64.
    """
    if logits.ndim != 3 or sequence.shape != logits.shape[:2]:
        shapes = [tuple(logits.shape), tuple(sequence.shape)]
        raise ValueError(f"logits and sequence must be (B, T, L + 1) and (B, T), got {shapes}")
    if sequence.dtype != torch.int64:
        raise ValueError(f"sequence must be int64, got {sequence.dtype}")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    step = sequence != PADDING
    logits = logits.where(step[:, :, None], 0)
    cost = F.cross_entropy(logits.flatten(0, 1), sequence.flatten(), ignore_index=PADDING, reduction="none")
    return mean_over_batch(cost.view(sequence.shape).sum(1), step.any(1))
