"""The data modules of images and of bags."""

import copy
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from retdm.bags import Bags, RegionBags
from retdm.data.augment import CROPS, Augmentation
from retdm.data.base_module import Data
from retdm.data.cached_array import CachedArray
from retdm.data.duplicates import Duplicates, groups_of
from retdm.data.image_cache import open_images
from retdm.data.images import cached_side
from retdm.data.loader import BagRows, CachedFeatures, Images, TrainingImages
from retdm.data.preparation import WHOLE, Preparation
from retdm.data.source import BagSource, ImageSource, Source
from retdm.ranges import AtLeast


class ImageData(Data):
    """The splits of a set of images, and loaders over them.

    Args:
        source: the images and their label sets.
        image_size: side of the network's images in pixels.
        on_unreadable: ``error`` stops at images that cannot be read, ``skip`` leaves them out and counts them.
        cache: folder of the decoded images, never inside the data's folder; ``none`` decodes them at each reading.
        cache_limit: gigabytes of pixels above which the cache holds JPEG.
        group_duplicates: the pairs of images that stay in one split, beside the source's groups.
        augmentation: how training images are changed; features in their place are not.
        preparation: how an image becomes a square, which the backbone's weights say.
        loading: see :class:`Data`.

    Attributes:
        images: ``images[i]`` is image i, uint8 (S, S, 3).
        features: of a frozen backbone, (N, …); None where batches bring images.
        readable: rows of the images that can be read.
        unreadable: row -> why it cannot be read.
        pairs: rows that show the same picture.
    """

    source: ImageSource

    def __init__(
        self,
        source: ImageSource,
        *,
        image_size: Annotated[int, AtLeast(8)] = 224,
        on_unreadable: Literal["error", "skip"] = "error",
        cache: str = "outputs/cache",
        cache_limit: float = 8.0,
        group_duplicates: Duplicates = "identical",
        augmentation: Augmentation = CROPS,
        preparation: Preparation = WHOLE,
        **loading: Any,
    ) -> None:
        super().__init__(source, **loading)
        self.image_size, self.augmentation, self.preparation = image_size, augmentation, preparation
        folder = None if cache == "none" else Path(cache)
        self.images, scan = open_images(source, cached_side(image_size), folder, cache_limit, preparation)
        self.unreadable, self.pairs = scan.faults, scan.pairs
        self.readable = np.setdiff1d(np.arange(len(source)), list(scan.faults))
        if scan.faults and (on_unreadable == "error" or len(self.readable) == 0):
            raise scan.error(len(source))
        self.features: np.ndarray | CachedArray | None = None
        self._columns: NDArray[np.int64] | None = None
        self._split(self.readable, scan.pairs, groups_of(scan.pairs, group_duplicates, len(source), source.group_of))
        self.left_out = scan.counts()

    def with_features(
        self, features: NDArray[np.floating[Any]] | CachedArray, columns: NDArray[np.int64] | None
    ) -> Self:
        """The same data, whose batches and examples have features of a frozen backbone in the place of images.

        Args:
            features: (N, …), a row an image.
            columns: int64 (F,) of the features that are used; None uses all.
        """
        changed = copy.copy(self)
        changed.features, changed._columns = features, columns
        return changed

    def with_images(self) -> Self:
        """The same data, whose batches have images."""
        changed = copy.copy(self)
        changed.features = changed._columns = None
        return changed

    def views(self, rows: NDArray[np.int64], *, on_gpu: bool = False) -> DataLoader[Any]:
        """Test views of some rows, in their order, in batches of ``batch_size``; ``on_gpu`` as of ``split_loader``."""
        sizes = range(0, len(rows), self.batch_size)
        batches = [[(0, int(row)) for row in rows[start : start + self.batch_size]] for start in sizes]
        return self._loading(batches, self._test_views(), on_gpu)

    def _test_views(self) -> Images:
        return Images(self.images, self.source.targets, self.source.known, self.image_size, self.preparation)

    @property
    def bags(self) -> RegionBags:
        assert self.features is not None, "features come first"
        return RegionBags(self.features)

    def examples(self, *splits: str) -> tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.bool_]]:
        where = self.rows_of(*splits)
        assert self.features is not None, "a fitted method's features come first"
        found: Any = self.bags.take(where) if self.features.ndim == 4 else self.features[where]
        if self._columns is not None:
            found = found[:, self._columns]
        return found, self.source.targets[where], self.source.known[where]

    def rows(self, *, training: bool = False) -> Images | CachedFeatures:
        if self.features is not None:
            return CachedFeatures(self.features, self._columns, self.source.targets, self.source.known)
        if not training:
            return self._test_views()
        return TrainingImages(
            self.images,
            self.source.targets,
            self.source.known,
            self.image_size,
            self.preparation,
            augmentation=self.augmentation,
            seed=self.seed,
            rows=self.splits["train"],
        )


class BagData(Data):
    """The splits of a set of bags, and loaders over them.

    Args:
        source: the bags and their label sets.
        cache: folder of the distances between bags, which ``retdm.runs.build`` looks for; ``none`` keeps none.
        loading: see :class:`Data`.
    """

    source: BagSource

    def __init__(self, source: BagSource, *, cache: str = "outputs/cache", **loading: Any) -> None:
        super().__init__(source, **loading)
        self._split(np.arange(len(source)))
        self.left_out = {}
        self._rows = BagRows(source)
        self.dim = int(source.instances.shape[1])

    @property
    def bags(self) -> Bags:
        return self._rows.bags

    def trained_on_validation(self) -> Self:
        changed = super().trained_on_validation()
        changed._rows = BagRows(changed.source)
        return changed

    def rows(self, *, training: bool = False) -> BagRows:
        return self._rows

    def examples(self, *splits: str) -> tuple[Bags, NDArray[np.uint8], NDArray[np.bool_]]:
        where = self.rows_of(*splits)
        return self.bags.take(where), self.source.targets[where], self.source.known[where]


def module_of(source: type[Source]) -> type[ImageData | BagData]:
    """The data module for a class of sources."""
    return BagData if issubclass(source, BagSource) else ImageData
