"""Embeddings of the places of a feature map. Notation: B batch, C channels, D width of an embedding, h x w places."""

from collections.abc import Callable

import torch
from torch import Tensor


def each_place(maps: Tensor, vector: Callable[[Tensor], Tensor]) -> Tensor:
    """The embedding of each place of maps (B, C, h, w) by itself, (B, D, h, w).

    Args:
        maps: (B, C, h, w).
        vector: makes an embedding (n, D) of maps (n, C, 1, 1).
    """
    batch, _, height, width = maps.shape
    places = vector(maps.permute(0, 2, 3, 1).flatten(0, 2)[..., None, None])
    return places.view(batch, height, width, -1).permute(0, 3, 1, 2)


def each_token(
    tokens: Tensor, grid: tuple[int, int], pooled: Callable[[Tensor], Tensor], *, with_prefix: bool
) -> Tensor:
    """The embedding of each patch's token by itself, (B, D, h, w).

    Args:
        tokens: (B, P + h w, C), P prefix tokens (class, registers) before those of the patches, row by row.
        grid: (h, w).
        pooled: makes an embedding (n, D) of tokens (n, P + 1, C).
        with_prefix: an image's own prefix tokens stand before each of its patches; else the patch's token does, in the
            place of a class token that is pooled alone.
    """
    (batch, count, width), (rows, columns) = tokens.shape, grid
    prefix = count - rows * columns
    patches = tokens[:, prefix:, None]
    if with_prefix:
        before = tokens[:, None, :prefix].expand(batch, rows * columns, prefix, width)
    else:
        before = patches.expand(batch, rows * columns, prefix, width)
    places = pooled(torch.cat([before, patches], 2).flatten(0, 1))
    return places.view(batch, rows, columns, -1).permute(0, 3, 1, 2)
