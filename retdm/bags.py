"""Bags of different sizes in one array. Notation: n bags, T instances in all, D features of an instance."""

from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True, eq=False)
class Bags:
    """n bags, their instances one after the other.

    Attributes:
        instances: (T, D).
        offsets: int64 (n + 1,); bag i is ``instances[offsets[i] : offsets[i + 1]]``.
        index: int64 (n,), each bag's place in its data set; -1 for a bag of none.
    """

    instances: NDArray[np.floating[Any]]
    offsets: NDArray[np.int64]
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Instances of each bag. (n,)"""
        return np.diff(self.offsets)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """True where a bag has an instance, N places for the largest. (n, N)"""
        sizes = self.sizes
        mask: NDArray[np.bool_] = np.arange(sizes.max()) < sizes[:, None]
        return mask

    def bag_index(self) -> NDArray[np.int64]:
        """The number, from 0 to n - 1, of the bag that each instance belongs to. (T,)"""
        return np.repeat(np.arange(len(self)), self.sizes)

    def take(self, bags: slice | NDArray[Any]) -> "Bags":
        """Some of the bags: by a slice, whose instances are a view, by numbers, or by a mask (n,)."""
        if isinstance(bags, slice):
            start, stop, _ = bags.indices(len(self))
            offsets = self.offsets[start : stop + 1]
            return Bags(self.instances[offsets[0] : offsets[-1]], offsets - offsets[0], self.index[bags])
        sizes = self.sizes[bags]
        offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        rows = np.repeat(self.offsets[:-1][bags] - offsets[:-1], sizes) + np.arange(offsets[-1])
        return Bags(self.instances[rows], offsets, self.index[bags])

    def pad(self, dtype: DTypeLike = np.float64) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The instances (n, N, D), 0 where a bag has none, and :attr:`mask` (n, N)."""
        mask = self.mask
        bag = np.zeros((*mask.shape, self.instances.shape[1]), dtype)
        bag[mask] = self.instances
        return bag, mask

    def scaled(self, shift: NDArray[np.float64], spread: NDArray[np.float64]) -> "Bags":
        """The bags with ``shift`` (D,) subtracted from their instances, which are then divided by ``spread`` (D,)."""
        return Bags((self.instances - shift) / spread, self.offsets, self.index)


class Maps(Protocol):
    """Feature maps (n, D, h, w), an array or a file that is read when rows are asked for."""

    shape: tuple[int, ...]

    def __getitem__(self, rows: Any, /) -> NDArray[Any]: ...


class RegionBags:
    """Images as bags: the h x w places of an image's feature map are its instances. Maps are read when taken.

    Args:
        maps: (n, D, h, w).
    """

    def __init__(self, maps: Maps) -> None:
        self.maps = maps
        self.offsets: NDArray[np.int64] = np.arange(len(self) + 1) * prod(maps.shape[2:])

    def __len__(self) -> int:
        return self.maps.shape[0]

    def take(self, bags: slice | NDArray[Any]) -> Bags:
        """The float32 :class:`Bags` of some images: by a slice, by numbers, or by a mask (n,)."""
        maps = self.maps[bags]
        places = maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1)  # (bags, h w, D)
        instances = places.reshape(-1, maps.shape[1]).astype(np.float32)
        return Bags(instances, self.offsets[: len(maps) + 1], np.arange(len(self))[bags])
