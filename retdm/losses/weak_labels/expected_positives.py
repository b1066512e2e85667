"""Expected positive regularisation (EPR, Cole et al., CVPR 2021): how many labels an image has, not which."""

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from retdm.losses.cells import read_all_cells
from retdm.losses.distributed import gather_rows, mean_over_batch
from retdm.ranges import Above

UNKNOWN_AT_THE_PROBE = "absent_without_negatives"


def expected_positives(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    expected: Annotated[float, Above(0)] | None = None,
    positives: Tensor | None = None,
    negatives: Tensor | None = None,
    rows: int | None = None,
    total: int | None = None,
) -> Tensor:
    """Cross-entropy of the known cells ÷ all cells, + ((mean over images of the sum of p) − k)² ÷ L².

    Unknown cells count in the second term alone. The original has no known negatives; here they count as in BCE.

    Args:
        logits: (B, L), before the sigmoid; those of unknown cells count too.
        target: (B, L) in {0, 1}; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        expected: k, the positive labels that an image has on average, at most L; None estimates them from the training
            split, see :func:`expected_from_counts`.
        positives, negatives, rows: of the training split, as of :func:`expected_from_counts`.
        total: rows of the global batch, as of :func:`retdm.losses.distributed.gather_rows`.

    Returns:
        () float32 or wider. Of many processes, this one's share: see :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes, more than L expected, or neither ``expected`` nor the counts.
    """
    if expected is not None and not expected <= logits.shape[1]:
        raise ValueError(f"expected={expected:g}, and an image has at most {logits.shape[1]} labels")
    logits, positive, unknown = read_all_cells(logits, target, known)
    cost = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
    count: Tensor | float
    if expected is not None:
        count = expected
    elif positives is not None and negatives is not None and rows is not None:
        count = expected_from_counts(positives, negatives, rows)
    else:
        raise ValueError("expected_positives needs expected, or positives, negatives and rows")
    found = gather_rows(logits.sigmoid().sum(1), total).mean()
    return mean_over_batch(cost.masked_fill(unknown, 0)) + ((found - count) / logits.shape[1]) ** 2


def expected_from_counts(positives: Tensor, negatives: Tensor, rows: int) -> Tensor:
    """How many labels an image has on average, () float32, as far as the known cells of n rows say it.

    A label's rate is that among its known cells; where no negative is known, known positives ÷ n, which is a lower
    bound: of single positives it gives 1.

    Args:
        positives: (L,) counts of known positives.
        negatives: (L,) counts of known negatives.
        rows: n.
    """
    cells = (positives + negatives).where(negatives > 0, rows)
    return (positives / cells).sum()
