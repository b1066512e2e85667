"""Random images, and the maxima of a map's quadrants in plain loops."""

import torch
from torch import Tensor


def images(count: int = 2, height: int = 64, width: int | None = None) -> Tensor:
    return torch.randn(count, 3, height, width or height, generator=torch.Generator().manual_seed(1))


def quadrant_maxima(maps: Tensor) -> Tensor:
    """The definition as loops: by channel, the maximum of each quadrant; an odd side's middle lies in both halves."""
    rows = []
    for image in maps:
        row = []
        for channel in image:
            height, width = channel.shape
            for top, bottom in ((0, -(-height // 2)), (height // 2, height)):
                for left, right in ((0, -(-width // 2)), (width // 2, width)):
                    row.append(max(float(channel[y, x]) for y in range(top, bottom) for x in range(left, right)))
        rows.append(row)
    return torch.tensor(rows)
