"""The embedding loss of C2AE (Yeh et al., AAAI 2017): images meet their label sets, coordinates stay orthonormal."""

import torch
from torch import Tensor

from retdm.losses.distributed import gather_rows


def canonical_correlation_loss(
    image: Tensor, label: Tensor, *, weight: float = 0.5, rows: int | None = 500, total: int | None = None
) -> Tensor:
    """Mean of ‖image − label‖² plus weight ÷ rows · (‖G(image) − I‖² + ‖G(label) − I‖²), G(x) = rows ÷ B · xᵀx.

    The original sums over its batch of 500 rows and pulls xᵀx towards I, un-normalised and un-centred. Its units come
    out near 1/√B, so another batch size means another embedding and another balance of the two terms. Here every batch
    counts as one of ``rows`` rows and the whole is divided by that number: with B = 500 this is the original ÷ 500, and
    any other B leads to the same embedding. G has at most rank B, so a B below D leaves a remainder.

    B is the number of rows of the global batch: every process gathers all rows and returns the same number.

    Args:
        image: (B, D) image embeddings.
        label: (B, D) embeddings of the same rows' label sets.
        weight: of orthonormality, at least 0.
        rows: at least 1; 1 means xᵀx ÷ B = I, which coordinates within ±½ cannot reach. None counts B: the original ÷ B
            for any batch.
        total: see :func:`retdm.losses.gather_rows`.

    Returns:
        () float32 or wider.

    Raises:
        ValueError: unequal shapes, no row, a number out of its range.
    """
    if image.ndim != 2 or image.shape != label.shape:
        shapes = [tuple(image.shape), tuple(label.shape)]
        raise ValueError(f"image and label must share one shape (B, D), got {shapes}")
    if not weight >= 0:
        raise ValueError(f"weight must be at least 0, got {weight}")
    if rows is not None and rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    image, label = gather_rows(image, total), gather_rows(label, total)
    size = len(image)
    if size == 0:
        raise ValueError("image and label must have a row, got none")
    counted = size if rows is None else rows
    with torch.autocast(image.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(image.dtype, label.dtype), torch.float32)
        image, label = image.to(dtype), label.to(dtype)
        one = torch.eye(image.shape[1], dtype=dtype, device=image.device)
        bent = sum((counted / size * x.T @ x - one).square().sum() for x in (image, label))
        return (image - label).square().sum() / size + weight / counted * bent
