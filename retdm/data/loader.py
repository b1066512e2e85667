"""Data sets whose rows are read as batches, for the keys that a sampler gives."""

import functools
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, get_worker_info

from retdm.bags import Bags
from retdm.batch import BagBatch, Batch, FeatureBatch, tensors_of
from retdm.data.augment import Augmentation, mixed, test_view
from retdm.data.bag_source import EMPTY_HINT
from retdm.data.cached_array import CachedArray
from retdm.data.image_cache import CachedImages, DecodedImages
from retdm.data.preparation import WHOLE, Preparation
from retdm.data.sampling import Key, Share
from retdm.data.source import BagSource
from retdm.errors import UserError

log = logging.getLogger(__name__)

Pixels = CachedImages | DecodedImages | np.ndarray  # pixels[i] is image i, uint8 (S, S, 3)
VIEW, MIXING = 0, 1  # in the seed of what is drawn for an image: for its view, and to mix it


class Images(Dataset[Batch]):
    """Rows of a data set as batches of test views.

    Args:
        images: N of them.
        target: uint8 (N, L).
        known: bool (N, L).
        size: side of the view in pixels.
        preparation: how images are resized to it.
    """

    def __init__(
        self, images: Pixels, target: np.ndarray, known: np.ndarray, size: int, preparation: Preparation = WHOLE
    ) -> None:
        self.images, self.target, self.known, self.size = images, target, known, size
        self.preparation = preparation

    def view(self, key: Key) -> torch.Tensor:
        """An image as it is shown, uint8 (3, size, size)."""
        return test_view(self.images[key[1]], self.size, self.preparation)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        index = _index(keys)
        known = self.known[index]
        return Batch(
            torch.from_numpy(index),
            torch.stack([self.view(key) for key in keys]),
            torch.from_numpy(np.where(known, self.target[index], 0).astype(np.float32)),
            torch.from_numpy(known),
            _total(keys),
        )


class TrainingImages(Images):
    """Rows of a data set as batches of training views, each a function of (seed, epoch, index, repetition).

    Args:
        images, target, known, size, preparation: see :class:`Images`.
        augmentation: how they are changed.
        seed: of all that is drawn.
        rows: int64 (n,), of the training split, with which images are mixed.
    """

    def __init__(
        self,
        images: Pixels,
        target: np.ndarray,
        known: np.ndarray,
        size: int,
        preparation: Preparation = WHOLE,
        *,
        augmentation: Augmentation,
        seed: int,
        rows: np.ndarray,
    ) -> None:
        super().__init__(images, target, known, size, preparation)
        self.augmentation, self.seed, self.rows = augmentation, seed, rows

    def view(self, key: Key) -> torch.Tensor:
        return self.augmentation.view(self.images[key[1]], self.size, self._draws(key, VIEW), self.preparation)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        batch, how = super().__getitems__(keys), self.augmentation
        if not how.mixes:
            return batch
        draws = [self._draws(key, MIXING) for key in keys]
        others = [(key[0], int(draw.choice(self.rows))) for key, draw in zip(keys, draws, strict=True)]
        return mixed(batch, super().__getitems__(others), draws, mixup=how.mixup, cutmix=how.cutmix)

    def _draws(self, key: Key, what: int) -> np.random.Generator:
        epoch, index, *repetition = key
        return np.random.default_rng((self.seed, epoch, index, 2 * sum(repetition) + what))


class CachedFeatures(Dataset[FeatureBatch]):
    """Rows of a data set as batches of features (B, …) that were computed before, in the place of images.

    Args:
        features: (N, G), or maps (N, C, h, w).
        columns: int64 (F,), those of the G that a batch brings; None brings all.
        target: uint8 (N, L).
        known: bool (N, L).
    """

    def __init__(
        self, features: np.ndarray | CachedArray, columns: np.ndarray | None, target: np.ndarray, known: np.ndarray
    ) -> None:
        self.features, self.columns, self.target, self.known = features, columns, target, known

    def __getitems__(self, keys: Sequence[Key]) -> FeatureBatch:
        index = _index(keys)
        known = self.known[index]
        features = self.features[index]
        return FeatureBatch(
            torch.from_numpy(index),
            torch.from_numpy(features if self.columns is None else features[:, self.columns]),
            torch.from_numpy(np.where(known, self.target[index], 0).astype(np.float32)),
            torch.from_numpy(known),
            _total(keys),
        )


class BagRows(Dataset[BagBatch]):
    """Rows of a bag source as batches, padded to the batch's largest bag.

    Raises:
        UserError: a bag has no instance: it would have no maximum, no mean and no attention.
    """

    def __init__(self, source: BagSource) -> None:
        self.source = source
        self.bags = Bags(source.instances, source.offsets, np.arange(len(source)))
        if not self.bags.sizes.all():
            raise UserError(f"bag {source.ids[int(self.bags.sizes.argmin())]} is empty", EMPTY_HINT)

    def __getitems__(self, keys: Sequence[Key]) -> BagBatch:
        source, index = self.source, _index(keys)
        bag, mask = self.bags.take(index).pad(np.float32)
        known = source.known[index]
        return BagBatch(
            torch.from_numpy(index),
            torch.from_numpy(bag),
            torch.from_numpy(mask),
            torch.from_numpy(np.where(known, source.targets[index], 0).astype(np.float32)),
            torch.from_numpy(known),
            _total(keys),
        )


def _index(keys: Sequence[Key]) -> NDArray[np.int64]:
    return np.array([key[1] for key in keys])


def _total(keys: Sequence[Key]) -> int | None:
    return keys.total if isinstance(keys, Share) else None


class _Piped:
    """A batch that goes from one process to another as bytes, and not in shared memory."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __reduce__(self) -> tuple[Any, ...]:
        arrays = {name: tensor.numpy() for name, tensor in tensors_of(self.batch).items()}
        return _from_pipe, (type(self.batch), arrays, self.batch.total)


def _from_pipe(kind: Any, arrays: dict[str, np.ndarray], total: int | None) -> Any:
    _warn_of_pipes()
    return kind(**{name: torch.from_numpy(array) for name, array in arrays.items()}, total=total)


@functools.cache
def _warn_of_pipes() -> None:
    """Once a process."""
    log.warning(
        "shared memory (/dev/shm) is too small for the loading processes: batches go through pipes, which costs the "
        "training process some milliseconds each; give it more (docker run --shm-size=2g), or lower data.workers"
    )


def handed_over(batch: Any) -> Any:
    """Put a whole batch, as the data set gives it, into shared memory, or into a pipe where that has no room.

    The loader would do it in a thread of the loading process, where an error loses the batch and the training process
    waits for ever.
    """
    if get_worker_info() is not None:
        try:
            for tensor in tensors_of(batch).values():
                tensor.share_memory_()
        except RuntimeError:
            return _Piped(batch)
    return batch
