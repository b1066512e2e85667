"""Bags of instances as heads and poolings take them: padded, with a mask."""

import torch
from torch import Tensor

SIZES = [3, 1, 6, 4]  # instances of four bags


def bags(width: int = 3, kind: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Four bags of ``SIZES`` (4, 6, width) and their mask; 0 in empty places."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(max(SIZES)) < torch.tensor(SIZES)[:, None]
    return (2 * torch.randn(*mask.shape, width, generator=generator, dtype=kind)) * mask[..., None], mask


def one_bag(values: list[float]) -> tuple[Tensor, Tensor]:
    return torch.tensor(values, dtype=torch.float64)[None, :, None], torch.ones(1, len(values), dtype=torch.bool)
