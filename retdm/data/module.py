"""A source, split and loaded."""

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.distributed as distributed
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, Dataset

from retdm.bags import Bags, RegionBags
from retdm.batch import BagBatch, TrainingLabels
from retdm.data import splits
from retdm.data.augment import cached_side
from retdm.data.bag_source import BagRows
from retdm.data.cached_array import CachedArray
from retdm.data.duplicates import KEEP, Pairs, groups_of
from retdm.data.image_cache import Fault, open_images
from retdm.data.images import RANGE_HINT, SKIP_HINT
from retdm.data.known_labels import check_known
from retdm.data.loader import CachedFeatures, GlobalBatches, Images, handed_over
from retdm.data.source import BagSource, Source, state_of
from retdm.data.splits import Indices
from retdm.errors import UserError
from retdm.stop import unheard

KINDS = ("missing", "empty", "unscaled", "unreadable")  # of images that are left out


class Data(ABC):
    """Rows of a source in three parts, and loaders over them.

    Args:
        source: rows and their label sets.
        split: number of the random split.
        test_fraction: share of all rows for testing.
        validation_fraction: share of the training part on which everything is chosen.
        folds: cross-validation: the training part is cut into so many, and one of them chooses; None is no fold.
        fold: which one, from 0.
        train_size: rows to train on at most; None takes all.
        stratified: keep each label's share the same in all parts, as far as its rows go.
        batch_size: rows of a global batch, at least 2.
        workers: loading processes; None is 0 on the CPU, where they would only take the network's cores.
        seed: of the training order and the augmentation.

    Attributes:
        splits: "train", "validation" and "test": the rows of each.
        manifest: what ``split.json`` holds.
        left_out: counts of what is in no part, for ``metrics.json``.
        dim: features of an instance; None where rows are images.
    """

    splits: dict[str, Indices]
    manifest: dict[str, Any]
    left_out: dict[str, int]
    dim: int | None = None

    def __init__(
        self,
        source: Source | BagSource,
        *,
        split: int = 0,
        test_fraction: float = 0.2,
        validation_fraction: float = 0.1,
        folds: int | None = None,
        fold: int = 0,
        train_size: int | None = None,
        stratified: bool = False,
        batch_size: int = 64,
        workers: int | None = None,
        seed: int = 0,
    ) -> None:
        if batch_size < 2:
            raise UserError(f"data.batch_size={batch_size} is too small", "take at least 2: losses compare rows")
        if workers is not None and workers < 0:
            raise UserError(f"data.workers={workers} is not a number of processes", "take 0 or more")
        splits.check_ranges(split, test_fraction, validation_fraction, folds, fold)
        self.source, self.batch_size, self.workers, self.seed = source, batch_size, workers, seed
        self._cutting: dict[str, Any] = {
            "seed": split,
            "test_fraction": test_fraction,
            "validation_fraction": validation_fraction,
            "folds": folds,
            "fold": fold,
            "train_size": train_size,
            "stratified": stratified,
        }

    @abstractmethod
    def rows(self, seed: int | None = None) -> Dataset[Any]:
        """All rows of the source as batches: augmented by ``seed``, or as they are judged."""

    @property
    @abstractmethod
    def bags(self) -> Bags | RegionBags:
        """All rows of the source as bags: its own, or the regions of images whose features are there."""

    @abstractmethod
    def examples(self, *parts: str) -> tuple[Any, NDArray[np.uint8], NDArray[np.bool_]]:
        """Rows of parts for a fitted method, in the order of the set: examples, target (n, L), known (n, L).

        Examples are features (n, F) or :class:`retdm.bags.Bags`.
        """

    def batches_of(self, rows: NDArray[np.int64]) -> Iterator[Any]:
        """Some rows as they are judged, in batches; without a loader, which would draw a random number."""
        views: Any = self.rows()
        for start in range(0, len(rows), self.batch_size):
            yield views.__getitems__([(0, int(i)) for i in rows[start : start + self.batch_size]])

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean (F,) and deviation, 1 for what is constant, of the training part's features, or of its instances."""
        scaler = StandardScaler()
        for batch in self.batches_of(np.sort(self.splits["train"])):  # regions of all images at once take gigabytes
            is_bags = isinstance(batch, BagBatch)
            rows = (
                batch.bag[batch.mask] if is_bags else batch.features.transpose(0, 1).flatten(1).T
            )  # (B, F), (B h w, F)
            scaler.partial_fit(rows.double().numpy())
        return torch.from_numpy(scaler.mean_), torch.from_numpy(scaler.scale_)

    def cut(self, rows: NDArray[np.int64], pairs: Pairs | None = None, groups: NDArray[np.int64] | None = None) -> None:
        """Set ``splits`` and ``manifest`` from the ``rows`` that can be used; those of one group (n,) stay together."""
        source = self.source
        state = state_of(source)  # before anything in it is changed below
        chosen = splits.make_split(
            len(rows),
            given=None if source.split is None else source.split[rows],
            targets=source.targets[rows],
            groups=None if groups is None else groups[rows],
            **self._cutting,
        )
        self.splits = {name: rows[getattr(chosen, name)] for name in splits.PARTS}
        true = getattr(source, "true_targets", None)
        if true is not None:  # noise put in on purpose is for learning alone
            source.targets[self.splits["test"]] = true[self.splits["test"]]
        shares = (
            [] if source.split is not None or self._cutting["stratified"] else ["data.stratified=true shares them out"]
        )
        if self._cutting["folds"] is None:
            shares.append("data.folds=5 chooses on all of the training part")
        check_known(source.names, source.targets, source.known, self.splits, hint=", ".join(shares))
        in_rows = splits.Split(**self.splits)
        self.manifest = splits.manifest(in_rows, source.ids, pairs, self._cutting["seed"], state)

    @property
    def labels(self) -> list[str]:
        return list(self.source.names)

    def _loading(self, batches: Any, rows: Dataset[Any], on_gpu: bool) -> DataLoader[Any]:
        workers = self.workers
        if workers is None:
            workers = min(8, os.cpu_count() or 1) if on_gpu else 0
        return DataLoader(
            rows,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=handed_over,
            worker_init_fn=unheard,
            pin_memory=on_gpu,
            persistent_workers=workers > 0,
        )

    def train_loader(self, start: tuple[int, int] = (0, 0), *, on_gpu: bool = False) -> DataLoader[Any]:
        """This process's share of the training split's batches, augmented and in the order of each epoch.

        Args:
            start: (epoch, batch) of the first; a run is continued there.
            on_gpu: as of :meth:`part_loader`.
        """
        batches = self._global_batches("train", self.splits["train"], self.seed)
        batches.start_at(*start)
        return self._loading(batches, self.rows(self.seed), on_gpu)

    def part_loader(self, part: str, most: int | None = None, *, on_gpu: bool = False) -> DataLoader[Any]:
        """This process's share of test views of a part in its own order, or of ``most`` rows spread evenly over it.

        Args:
            on_gpu: they go there: loaded by processes of their own, into pinned memory.
        """
        rows = self.splits[part]
        if most is not None and most < len(rows):
            rows = rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]
        return self._loading(self._global_batches(part, rows, None), self.rows(), on_gpu)

    def _global_batches(self, split: str, rows: NDArray[np.int64], seed: int | None) -> GlobalBatches:
        several = distributed.is_available() and distributed.is_initialized()
        rank, world = (distributed.get_rank(), distributed.get_world_size()) if several else (0, 1)
        try:
            return GlobalBatches(rows, self.batch_size, seed=seed, rank=rank, world=world)
        except ValueError as error:
            raise UserError(f"the {split} split is too small: {error}", "use fewer processes or more images") from error

    def training_labels(self) -> TrainingLabels:
        """What a method may know of the training split's label sets before it is trained."""
        train = self.splits["train"]
        target, known = self.source.targets[train], self.source.known[train]
        return TrainingLabels(torch.from_numpy(target), torch.from_numpy(known), self._label_set_frequency())

    def trained_on_validation(self) -> Self:
        """The same data, whose training split has the rows of the validation split too."""
        changed = copy.copy(self)
        rows = np.sort(np.concatenate([self.splits["train"], self.splits["validation"]]))
        changed.splits = {**self.splits, "train": rows}
        return changed

    def _label_set_frequency(self) -> torch.Tensor:
        _, inverse = np.unique(self.source.targets, axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)  # NumPy 2.0 gives it a second dimension
        complete: NDArray[np.bool_] = np.all(self.source.known, axis=1)
        train = self.splits["train"]
        counts = np.bincount(inverse[train[complete[train]]], minlength=inverse.max() + 1)
        return torch.from_numpy(np.where(complete, counts[inverse], 0))


class ImageData(Data):
    """Loaders over the parts of a set of images.

    Args:
        source: the images and their label sets.
        image_size: side of the network's images in pixels.
        on_unreadable: ``error`` stops at images that cannot be read, ``skip`` leaves them out and counts them.
        cache: folder of the decoded images, never inside the data's own; ``none`` decodes them at each reading.
        cache_limit: gigabytes of pixels above which the cache holds JPEG.
        group_duplicates: ``none``, ``identical`` or ``near``: which pairs of images lie on one side of the split.
        loading: see :class:`Data`.
    """

    def __init__(
        self,
        source: Source,
        *,
        image_size: int = 224,
        on_unreadable: str = "error",
        cache: str = "outputs/cache",
        cache_limit: float = 8.0,
        group_duplicates: str = "identical",
        **loading: Any,
    ) -> None:
        super().__init__(source, **loading)
        if image_size < 8:
            raise UserError(f"data.image_size={image_size} is too small", "take at least 8")
        if on_unreadable not in ("error", "skip"):
            raise UserError(f"data.on_unreadable={on_unreadable} is not known", "error or skip")
        if group_duplicates not in KEEP:
            raise UserError(f"data.group_duplicates={group_duplicates} is unknown", f"choose {', '.join(KEEP)}")
        self.image_size = image_size
        folder = None if cache == "none" else Path(cache)
        self.images, scan = open_images(source, cached_side(image_size), folder, cache_limit)
        if scan.faults and on_unreadable == "error":
            raise _unusable(scan.faults, len(source))
        readable = np.ones(len(source), bool)
        readable[list(scan.faults)] = False
        rows = np.flatnonzero(readable)
        if len(rows) == 0:
            raise _unusable(scan.faults, len(source))
        self.unreadable, self.readable = scan.faults, rows
        self.features: np.ndarray | CachedArray | None = None
        self.columns: NDArray[np.int64] | None = None
        self.cut(rows, scan.pairs, groups_of(scan.pairs, group_duplicates, len(source)))
        kinds = [fault.kind for fault in scan.faults.values()]
        self.left_out = {f"{kind}_images": kinds.count(kind) for kind in KINDS}

    def with_features(
        self, features: NDArray[np.floating[Any]] | CachedArray, columns: NDArray[np.int64] | None
    ) -> Self:
        """The same data, whose batches and examples have features of a frozen backbone in the place of images.

        Args:
            features: (N, …), a row an image.
            columns: int64 (F,) of the features that are used; None uses all.
        """
        changed = copy.copy(self)
        changed.features, changed.columns = features, columns
        return changed

    def views(self, rows: NDArray[np.int64], *, on_gpu: bool = False) -> DataLoader[Any]:
        """Test views of some rows, in their order, in batches of ``batch_size``; ``on_gpu`` as of ``part_loader``."""
        sizes = range(0, len(rows), self.batch_size)
        batches = [[(0, int(row)) for row in rows[start : start + self.batch_size]] for start in sizes]
        images = Images(self.images, self.source.targets, self.source.known, self.image_size)
        return self._loading(batches, images, on_gpu)

    @property
    def bags(self) -> RegionBags:
        assert self.features is not None, "features come first"
        return RegionBags(self.features)

    def examples(self, *parts: str) -> tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.bool_]]:
        where = np.sort(np.concatenate([self.splits[part] for part in parts]))
        assert self.features is not None, "a fitted method's features come first"
        given: Any = self.bags.take(where) if self.features.ndim == 4 else self.features[where]
        if self.columns is not None:
            given = given[:, self.columns]
        return given, self.source.targets[where], self.source.known[where]

    def rows(self, seed: int | None = None) -> Images | CachedFeatures:
        if self.features is not None:
            return CachedFeatures(self.features, self.columns, self.source.targets, self.source.known)
        return Images(self.images, self.source.targets, self.source.known, self.image_size, seed)


def _unusable(faults: dict[int, Fault], n: int) -> UserError:
    first = next(iter(faults.values()))
    hint = RANGE_HINT if first.kind == "unscaled" else SKIP_HINT
    if len(faults) == 1:
        return UserError(first.message, hint)
    kinds = [fault.kind for fault in faults.values()]
    counts = ", ".join(f"{kinds.count(kind):,} {kind}" for kind in KINDS if kind in kinds)
    message = f"{len(faults):,} of {n:,} images cannot be read ({counts}); the first: {first.message}"
    return UserError(message, hint)


class BagData(Data):
    """Loaders over the parts of a set of bags.

    Args:
        source: the bags and their label sets.
        cache: folder of the distances between bags, which ``retdm.runs.build`` looks for; ``none`` keeps none.
        loading: see :class:`Data`.
    """

    def __init__(self, source: BagSource, *, cache: str = "outputs/cache", **loading: Any) -> None:
        super().__init__(source, **loading)
        self.cut(np.arange(len(source)))
        self.left_out = {}
        self._rows = BagRows(source)
        self.dim = int(source.instances.shape[1])

    @property
    def bags(self) -> Bags:
        return self._rows.bags

    def rows(self, seed: int | None = None) -> BagRows:
        return self._rows

    def examples(self, *parts: str) -> tuple[Bags, NDArray[np.uint8], NDArray[np.bool_]]:
        where = np.sort(np.concatenate([self.splits[part] for part in parts]))
        return self.bags.take(where), self.source.targets[where], self.source.known[where]


def module_of(source: Any) -> type[ImageData | BagData]:
    """The data module for a class of sources: bags where it says that it ``gives`` them, else images."""
    return BagData if getattr(source, "gives", None) is BagBatch else ImageData
