"""Embeddings of the places of a feature map. Notation: B batch, C channels, D width of an embedding, h x w places."""

from collections.abc import Callable

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
