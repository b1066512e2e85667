"""Which cells of a batch are positive and which negative."""

import torch
from torch import Tensor

from retdm.losses.classification import check_cells


def read_cells(output: Tensor, target: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The output, float32 or wider and 0 in unknown cells, and (B, L) bool masks of positive and negative cells.

    An unknown cell is neither. What stands there in output or target, NaN included, is never read.

    Raises:
        ValueError: unequal shapes.
    """
    check_cells(output, target, known)
    output = output.to(torch.promote_types(output.dtype, torch.float32))
    positive = target > 0.5
    if known is None:
        return output, positive, ~positive
    return output.where(known, 0), positive & known, ~positive & known
