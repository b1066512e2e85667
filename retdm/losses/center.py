"""Center loss with one centre for each label (Wen et al., ECCV 2016), extended to images of several labels."""

import torch
from torch import Tensor

from retdm.losses.cells import check_cells
from retdm.losses.distributed import gather_rows, mean_over_batch


def center_loss(embedding: Tensor, target: Tensor, known: Tensor | None, centers: Tensor) -> Tensor:
    """Mean over the images of the global batch of ½ · mean over an image's labels c of ‖embedding − centers[c]‖².

    For images of one label this is the original, which says nothing about several: the mean keeps images of many
    labels from outweighing the others. An image without a known positive label adds 0 and counts in the mean.

    Args:
        embedding: (B, D).
        target: (B, L), a label is positive above 0.5; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.
        centers: (L, D), never differentiated: :func:`moved_centers` moves them.

    Returns:
        () float32 or wider. Of many processes, this one's share: see :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: shapes that do not fit together.
    """
    positive = _positive(embedding, target, known, centers)
    with torch.autocast(embedding.device.type, enabled=False):
        dtype = torch.promote_types(embedding.dtype, torch.float32)
        # Not by the matrix product, which cancels near a centre; not by (B, L, D) differences, which are large.
        distance = torch.cdist(
            embedding.to(dtype), centers.detach().to(dtype), compute_mode="donot_use_mm_for_euclid_dist"
        )
    return mean_over_batch((distance.square() * positive).sum(1) / positive.sum(1).clamp(min=1) / 2)


@torch.no_grad()
def moved_centers(
    centers: Tensor,
    embedding: Tensor,
    target: Tensor,
    known: Tensor | None,
    rate: float,
    total: int | None = None,
) -> Tensor:
    """The centres after one step of their own rule: c − rate · sum over its n images of (c − embedding) ÷ (1 + n).

    The images of a centre are those of the global batch with that label, known and positive: all processes get equal
    centres. A label without an image keeps its centre.

    Args:
        centers: (L, D), left as they are.
        embedding: (B, D).
        target: (B, L), as in :func:`center_loss`.
        known: (B, L) bool, None where every cell is known.
        rate: in [0, 1].
        total: see :func:`retdm.losses.gather_rows`.

    Returns:
        (L, D) of the centres' type, without a graph.

    Raises:
        ValueError: shapes that do not fit together, a rate outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be in [0, 1], got {rate}")
    positive = gather_rows(_positive(embedding, target, known, centers), total).to(centers.dtype)
    embedding = gather_rows(embedding, total).to(centers.dtype)
    images = positive.sum(0)[:, None]
    with torch.autocast(centers.device.type, enabled=False):
        return centers - rate * (images * centers - positive.T @ embedding) / (1 + images)


def _positive(embedding: Tensor, target: Tensor, known: Tensor | None, centers: Tensor) -> Tensor:
    check_cells(target, target, known)
    if embedding.ndim != 2 or len(embedding) != len(target):
        raise ValueError(f"embedding must be ({len(target)}, D), got {tuple(embedding.shape)}")
    if centers.shape != (target.shape[1], embedding.shape[1]):
        raise ValueError(f"centers must be {(target.shape[1], embedding.shape[1])}, got {tuple(centers.shape)}")
    return target > 0.5 if known is None else (target > 0.5) & known
