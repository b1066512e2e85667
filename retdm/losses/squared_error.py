"""Squared error between label sets and their reconstructions from an embedding."""

import torch
from torch import Tensor

from retdm.losses.cells import check_cells
from retdm.losses.distributed import mean_over_batch


def squared_error(output: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean of (output − target)² over the known cells of the global batch (RETDM, eq. 12).

    Args:
        output: (B, L).
        target: (B, L) in {0, 1}, any type; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known.

    Returns:
        () float32 or wider; 0, with a graph, where no cell is known. Of many processes, this one's share: see
        :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes.
    """
    check_cells(output, target, known)
    output = output.to(torch.promote_types(output.dtype, torch.float32))
    difference = output - target.to(output.dtype)
    if known is not None:  # 0 · NaN is NaN: a weight of 0 alone would not keep an unknown cell out
        difference = difference.where(known, 0)
    return mean_over_batch(difference.square(), known)
