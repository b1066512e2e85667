"""The cells of a batch, positive, negative or unknown, which most losses start from."""

import torch
from torch import Tensor


def check_cells(output: Tensor, target: Tensor, known: Tensor | None) -> None:
    """Raise ValueError unless all are (B, L) and known is bool."""
    shapes = [tuple(x.shape) for x in (output, target, known) if x is not None]
    if output.ndim != 2 or len(set(shapes)) > 1:
        raise ValueError(f"output, target and known must share one shape (B, L), got {shapes}")
    if known is not None and known.dtype != torch.bool:
        raise ValueError(f"known must be bool, got {known.dtype}")


def read_cells(output: Tensor, target: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, float32 or wider and 0 in unknown cells, and (B, L) bool masks of positive and negative cells.

    An unknown cell is neither. What stands there in output or target, NaN included, is never read.

    Raises:
        ValueError: unequal shapes.
    """
    output, positive, _ = read_all_cells(output, target, known)
    if known is None:
        return output, positive, ~positive
    return output.where(known, 0), positive, ~positive & known


def read_all_cells(logits: Tensor, target: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits, float32 or wider, and (B, L) bool masks of positive and unknown cells.

    What stands in target in an unknown cell, NaN included, is never read; its logit is.

    Raises:
        ValueError: unequal shapes.
    """
    check_cells(logits, target, known)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    positive = target > 0.5
    if known is None:
        return logits, positive, torch.zeros_like(positive)
    return logits, positive & known, ~known
