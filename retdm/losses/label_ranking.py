"""Exponential loss over the pairs of a positive and a negative label of an image (C2AE, Yeh et al., AAAI 2017)."""

from torch import Tensor

from retdm.losses.cells import read_cells
from retdm.losses.distributed import mean_over_batch


def label_ranking_loss(
    scores: Tensor, target: Tensor, known: Tensor | None = None, *, steepness: float = 5.0
) -> Tensor:
    """Mean over the images of the global batch of the mean over pairs (p, q) of exp(−steepness · (score_p − score_q)).

    p is a positive, q a negative label of the image. Images without either add 0 and count in the mean, as in the
    original, which sums over the batch. Its code follows steepness 5 at 1/10 of this loss: it leaves the 5 out of the
    gradient and halves the rest.

    Time and memory are O(B·L), as the sum over pairs is a product of two sums. What matters is the difference of
    scores, however far from 0 they lie; a difference of about −18 exceeds float32 at steepness 5, so give scores in
    [0, 1].

    Args:
        scores: (B, L).
        target: (B, L) in {0, 1}, any type; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        steepness: above 0.

    Returns:
        () float32 or wider. Of many processes, this one's share: see :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes, a steepness not above 0.
    """
    if not steepness > 0:
        raise ValueError(f"steepness must be above 0, got {steepness}")
    scores, positive, negative = read_cells(scores, target, known)
    pairs = positive.any(1) & negative.any(1)
    alone = ~pairs[:, None]  # an image without pairs: a value of 1 with no gradient, then weighted by 0
    scores = scores.masked_fill(alone, 0)
    log_mean = _log_mean_exp(-steepness * scores, positive | alone) + _log_mean_exp(
        steepness * scores, negative | alone
    )
    return mean_over_batch(log_mean.exp() * pairs)


def _log_mean_exp(x: Tensor, among: Tensor) -> Tensor:
    """log of the mean of e^x over the cells of each row that are among; every row has one."""
    return x.masked_fill(~among, float("-inf")).logsumexp(1) - among.sum(1).to(x.dtype).log()
