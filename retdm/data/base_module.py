"""Data: the splits of any source, and loaders over them."""

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
import torch.distributed as distributed
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from retdm.bags import Bags, RegionBags
from retdm.batch import BagBatch, TrainingLabels
from retdm.data.duplicates import Pairs
from retdm.data.loader import handed_over
from retdm.data.observe import observation_of
from retdm.data.sampling import GlobalBatches, repeat_times
from retdm.data.source import Source, state_of
from retdm.data.splits import Indices, Splits, check_fold, check_labels, make_splits, manifest, wished_sizes
from retdm.errors import UserError
from retdm.ranges import AtLeast, Between
from retdm.stop import ignore_requests

Fraction = Annotated[float, Between(0, 1, with_low=False, with_high=False)]


class Data(ABC):
    """The rows of a source in three splits, and loaders over them.

    Args:
        source: rows and their label sets.
        split: number of the random split, and of the draw of ``observe``.
        test_fraction: share of all rows for testing.
        validation_fraction: share of the rows that are not for testing on which everything is chosen.
        folds: cross-validation: the rows that are not for testing are divided into so many folds, of which one
            validates; None takes ``validation_fraction`` of them.
        fold: the number of that fold, from 0.
        train_size: rows to train on at most; None takes all.
        stratified: keep each label's share the same in all splits, as far as its rows go.
        repeat_rare: rows with a label that a smaller share of the training split has come several times an epoch, as
            :func:`retdm.data.sampling.repeat_times` says; None shows each row once.
        observe: what is left of the labels of the training split, a name as of
            :func:`retdm.data.observe.observation_of`, and of the validation split's where it is trained on; None
            leaves all.
        observe_validation: the same is left of the validation split's while it validates; where no negative stays
            known, its unknown labels count as absent, for otherwise nothing could be chosen on it.
        unlabelled: what an unknown label of a row that is trained on counts as; ``negative`` is for sets where only
            what was seen was tagged, and for methods that have no other use for unknown labels.
        batch_size: rows of a global batch; losses compare rows.
        workers: loading processes; None is 0 on the CPU, where they would only take the network's cores.
        seed: of the training order and the augmentation.

    Attributes:
        splits: "train", "validation" and "test": the rows of each.
        manifest: the content of ``split.json``.
        wished: rows of each split as the settings wish them, which groups and stratification only come near; None
            where the source gives a split.
        left_out: counts of the rows in no split, for ``metrics.json``.
        dim: features of an instance; None where rows are images.
    """

    splits: Splits
    manifest: dict[str, Any]
    wished: dict[str, int] | None
    left_out: dict[str, int]
    dim: int | None = None

    def __init__(
        self,
        source: Source,
        *,
        split: Annotated[int, AtLeast(0)] = 0,
        test_fraction: Fraction = 0.2,
        validation_fraction: Fraction = 0.1,
        folds: Annotated[int, AtLeast(2)] | None = None,
        fold: Annotated[int, AtLeast(0)] = 0,
        train_size: Annotated[int, AtLeast(1)] | None = None,
        stratified: bool = False,
        repeat_rare: Fraction | None = None,
        observe: str | None = None,
        observe_validation: bool = False,
        unlabelled: Literal["unknown", "negative"] = "unknown",
        batch_size: Annotated[int, AtLeast(2)] = 64,
        workers: Annotated[int, AtLeast(0)] | None = None,
        seed: int = 0,
    ) -> None:
        check_fold(folds, fold)
        self.source, self.batch_size, self.workers, self.seed = source, batch_size, workers, seed
        self.repeat_rare = repeat_rare
        self._observation = None if observe is None else observation_of(observe)
        self._observe_validation, self._unlabelled = observe_validation, unlabelled
        self._trained_on: tuple[NDArray[np.uint8], NDArray[np.bool_]] | None = None  # of all rows, if they differ
        self._splitting: dict[str, Any] = {
            "seed": split,
            "test_fraction": test_fraction,
            "validation_fraction": validation_fraction,
            "folds": folds,
            "fold": fold,
            "train_size": train_size,
            "stratified": stratified,
        }

    @abstractmethod
    def rows(self, *, training: bool = False) -> Dataset[Any]:
        """All rows of the source as batches: of test views, or of views to train on."""

    @property
    @abstractmethod
    def bags(self) -> Bags | RegionBags:
        """All rows of the source as bags: those of a bag source, or the regions of images with features."""

    @abstractmethod
    def examples(self, *splits: str) -> tuple[Any, NDArray[np.uint8], NDArray[np.bool_]]:
        """Rows of some splits for a fitted method, in the order of the set: examples, target (n, L), known (n, L).

        Examples are features (n, F) or :class:`retdm.bags.Bags`.
        """

    def batches_of(self, rows: NDArray[np.int64]) -> Iterator[Any]:
        """Test views of some rows, in batches; without a loader, which would draw a random number."""
        views: Any = self.rows()
        for start in range(0, len(rows), self.batch_size):
            yield views.__getitems__([(0, int(i)) for i in rows[start : start + self.batch_size]])

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean (F,) and deviation, 1 for what is constant, of the training split's features, or of its instances."""
        from sklearn.preprocessing import StandardScaler  # takes a second, and few runs need it

        scaler = StandardScaler()
        for batch in self.batches_of(np.sort(self.splits["train"])):  # regions of all images at once take gigabytes
            is_bags = isinstance(batch, BagBatch)
            rows = batch.bag[batch.mask] if is_bags else batch.features.transpose(0, 1).flatten(1).T  # (B h w, F)
            scaler.partial_fit(rows.double().numpy())
        return torch.from_numpy(scaler.mean_), torch.from_numpy(scaler.scale_)

    def rows_of(self, *splits: str) -> Indices:
        """The rows of some splits, in the order of the set."""
        return np.sort(np.concatenate([self.splits[name] for name in splits]))

    def _split(self, rows: Indices, pairs: Pairs | None = None, groups: NDArray[np.int64] | None = None) -> None:
        """Set ``splits`` and ``manifest`` from the ``rows`` that can be used; those of one group (n,) stay together."""
        source, how = self.source, self._splitting
        state = state_of(source)  # before anything in it is changed below
        places = make_splits(
            len(rows),
            given=None if source.split is None else source.split[rows],
            targets=source.targets[rows],
            groups=None if groups is None else groups[rows],
            **how,
        )
        self.splits = {name: rows[found] for name, found in places.items()}
        self.wished = None if source.split is not None else wished_sizes(len(rows), **how)
        if source.true_targets is not None:
            source.targets[self.splits["test"]] = source.true_targets[self.splits["test"]]
        self._observe()
        hints = [] if source.split is not None or how["stratified"] else ["data.stratified=true shares them out"]
        if how["folds"] is None:
            hints.append("data.folds=5 chooses on all rows that are not for testing")
        check_labels(source.names, source.targets, source.known, self.splits, hint=", ".join(hints))
        self.manifest = manifest(self.splits, source.ids, pairs, how["seed"], state)

    def _observe(self) -> None:
        """Leave of the source's labels what is observed, and take unknown ones for absent where that was chosen."""
        source, observation = self.source, self._observation
        target, known = seen = source.targets, source.known
        if observation is not None:
            target, known = seen = observation.apply(target, known, self._splitting["seed"])
            train = self.splits["train"]
            if source.known[train].any() and not known[train].any():
                raise UserError(
                    f"data.observe={observation.name} leaves none of the training labels known",
                    "a greater share, or null",
                )
        if self._unlabelled == "negative":
            known = np.ones_like(known)
        elif observation is None:
            return
        self._trained_on = target, known
        self._take(self.splits["train"], target, known)
        if observation is not None and self._observe_validation:
            target, known = seen
            self._take(self.splits["validation"], target, np.ones_like(known) if observation.hides_negatives else known)

    def _take(self, rows: Indices, target: NDArray[np.uint8], known: NDArray[np.bool_]) -> None:
        """Give some rows the labels that they have in ``target`` and ``known`` (n, L), in new arrays of the source."""
        source = self.source
        source.targets, source.known = source.targets.copy(), source.known.copy()
        source.targets[rows], source.known[rows] = target[rows], known[rows]

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
            worker_init_fn=ignore_requests,
            pin_memory=on_gpu,
            persistent_workers=workers > 0,
        )

    def train_loader(self, start: tuple[int, int] = (0, 0), *, on_gpu: bool = False) -> DataLoader[Any]:
        """This process's share of the training split's batches, augmented and in the order of each epoch.

        Args:
            start: (epoch, batch) of the first; a run is continued there.
            on_gpu: as of :meth:`split_loader`.
        """
        rows = self.splits["train"]
        times = None
        if self.repeat_rare is not None:
            times = repeat_times(self.source.targets[rows], self.source.known[rows], self.repeat_rare)
        batches = self._global_batches("train", rows, self.seed, times)
        batches.start_at(*start)
        return self._loading(batches, self.rows(training=True), on_gpu)

    def split_loader(self, split: str, most: int | None = None, *, on_gpu: bool = False) -> DataLoader[Any]:
        """This process's share of the test views of a split, in the order of its rows.

        Args:
            split: train, validation or test.
            most: so many rows at most, spread evenly over the split; None takes all.
            on_gpu: they go there: loaded by processes of their own, into pinned memory.
        """
        rows = self.splits[split]
        if most is not None and most < len(rows):
            rows = rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]
        return self._loading(self._global_batches(split, rows, None), self.rows(), on_gpu)

    def _global_batches(
        self, split: str, rows: NDArray[np.int64], seed: int | None, times: NDArray[np.float64] | None = None
    ) -> GlobalBatches:
        several = distributed.is_available() and distributed.is_initialized()
        rank, world = (distributed.get_rank(), distributed.get_world_size()) if several else (0, 1)
        try:
            return GlobalBatches(rows, self.batch_size, seed=seed, rank=rank, world=world, times=times)
        except ValueError as error:
            raise UserError(f"the {split} split is too small: {error}", "use fewer processes or more images") from error

    def training_labels(self) -> TrainingLabels:
        """The label sets of the training split, for a method to know before it is trained."""
        train = self.splits["train"]
        target, known = self.source.targets[train], self.source.known[train]
        return TrainingLabels(torch.from_numpy(target), torch.from_numpy(known), self._label_set_frequency())

    def trained_on_validation(self) -> Self:
        """The same data, whose training split has the rows of the validation split too, with the labels that rows to
        train on have (``observe``, ``unlabelled``)."""
        changed = copy.copy(self)
        changed.splits = {**self.splits, "train": self.rows_of("train", "validation")}
        changed.source = copy.copy(self.source)
        if self._trained_on is not None:
            changed._take(self.splits["validation"], *self._trained_on)
        return changed

    def _label_set_frequency(self) -> torch.Tensor:
        cells = np.where(self.source.known, self.source.targets, 2)
        _, inverse = np.unique(cells, axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)  # NumPy 2.0 gives it a second dimension
        counts = np.bincount(inverse[self.splits["train"]], minlength=inverse.max() + 1)
        return torch.from_numpy(counts[inverse])
