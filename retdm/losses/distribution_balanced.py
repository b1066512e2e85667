"""Distribution-balanced loss (Wu et al., ECCV 2020, arXiv 2007.09654) for labels of very different frequency."""

from typing import Annotated

import torch
from torch import Tensor

from retdm.losses.cells import read_cells
from retdm.losses.distributed import mean_over_batch
from retdm.losses.focal import focal_cost
from retdm.ranges import Above, AtLeast


def distribution_balanced_loss(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    positives: Tensor,
    negatives: Tensor,
    alpha: Annotated[float, AtLeast(0)] = 0.1,
    beta: Annotated[float, AtLeast(0)] = 10.0,
    mu: Annotated[float, AtLeast(0)] = 0.2,
    scale: Annotated[float, Above(0)] = 2.0,
    kappa: Annotated[float, AtLeast(0)] = 0.05,
    gamma: Annotated[float, AtLeast(0)] = 2.0,
) -> Tensor:
    """Mean over the known cells of the global batch of a weighted, shifted and, for negatives, scaled focal loss.

    Weight of label i in image k (re-balanced weighting): r = (1 / n_i) / Σ_j 1 / n_j, where n_i is how many training
    images have label i and the sum is over the labels of the image. Images that are drawn for their rare labels bring
    frequent ones along, and r takes that off again. Smoothed, it is alpha + sigmoid(beta · (r − mu)), which is
    alpha + 1 in an image without labels.

    Shift and scale (negative-tolerant regularisation): with ν_i = kappa · log(negatives ÷ positives), a positive cell
    costs log(1 + exp(−(z − ν))), a negative one log(1 + exp(scale · (z − ν))) ÷ scale: a large ``scale`` stops pushing
    negatives that are low already. ``gamma`` is the focal exponent, on the same shifted and scaled logits, as in
    "DB-focal". ν and scale shape training alone; scores are sigmoids of z.

    The defaults are the paper's for COCO (for VOC it has mu 0.3 and scale 5); its code divides ν by ``scale`` too and
    multiplies the loss by 2, which is left out here. The paper draws images by their classes as well;
    ``data.repeat_rare`` shows images with rare labels more often. A label without a positive, or without a negative,
    counts as one that has one.

    Args:
        logits: (B, L), before the sigmoid.
        target: (B, L) in {0, 1}, any type; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        positives: (L,), training images that have each label.
        negatives: (L,), training images that are known not to have it.
        alpha: of the smoothing, at least 0.
        beta: of the smoothing, at least 0; 0 weighs all cells alpha + ½.
        mu: of the smoothing, at least 0.
        scale: λ, above 0.
        kappa: at least 0.
        gamma: at least 0.

    Returns:
        () float32 or wider; 0, with a graph, where no cell is known. Of many processes, this one's share: see
        :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes, or a number out of its range.
    """
    for name, value in (("alpha", alpha), ("beta", beta), ("mu", mu), ("kappa", kappa), ("gamma", gamma)):
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0, got {value}")
    if not scale > 0:
        raise ValueError(f"scale must be above 0, got {scale}")
    logits, positive, _ = read_cells(logits, target, known)
    if positives.shape != logits.shape[1:] or negatives.shape != positives.shape:
        found = [tuple(positives.shape), tuple(negatives.shape)]
        raise ValueError(f"positives and negatives must be ({logits.shape[1]},), got {found}")
    count, rest = (number.to(logits.dtype).clamp(min=1) for number in (positives, negatives))
    drawn = positive.to(logits.dtype) @ (1 / count)  # (B,), how often an image would be drawn for its labels
    weight = alpha + (beta * (1 / count / drawn[:, None] - mu)).sigmoid()
    if beta == 0:  # else 0 · ∞ in images without labels
        weight = torch.full_like(logits, alpha + 0.5)
    shifted = logits - kappa * (rest / count).log()
    cost = focal_cost(torch.where(positive, shifted, scale * shifted), positive, gamma)
    return mean_over_batch(weight * torch.where(positive, cost, cost / scale), known)
