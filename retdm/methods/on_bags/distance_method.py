"""The base of methods that work on distances from bags to training bags.

Notation: n training bags, K of them kept, B bags to score, D features, L labels.
"""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.methods.components.bag_distances import Kind, bag_distances
from retdm.methods.components.labels import Array, Bools
from retdm.methods.components.softsign import softsign_score
from retdm.methods.components.standardise import Scale, shift_and_spread
from retdm.methods.on_bags.base import BagMethod
from retdm.methods.tuning import FoldScores


class Table(Protocol):
    """Distances float32 (N, N) between all bags of a data set, an array or on disk."""

    def __getitem__(self, rows: NDArray[Any], /) -> NDArray[np.float32]:
        """Some rows. (n, N)"""
        ...


class DistanceMethod(BagMethod):
    """A method on bags that writes :meth:`fit_distances` and :meth:`values_at`.

    Distances are read from a table of the whole data set after :meth:`use_distances`, else they are computed; both ways
    give the same scores.

    Args:
        distance: see :func:`retdm.methods.components.bag_distances.bag_distances`.
        scale: of instances before distances are computed, see
            :func:`retdm.methods.components.standardise.shift_and_spread`; measured over the training bags (with a
            table over the training split, whatever ``refit`` adds) and kept for new bags. MIMLSVM's authors measured
            it over all bags, those of the test too.
        fitted: see :class:`retdm.methods.on_bags.base.BagMethod`.

    Attributes:
        table: (N, N) distances between all bags of the data set.
    """

    shift: Tensor  # (D,)
    spread: Tensor  # (D,)
    kept_instances: Tensor  # float32 (T, D), not scaled
    kept_offsets: Tensor  # (K + 1,)
    kept_index: Tensor  # (K,) places in the data set

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        distance: Kind,
        scale: Scale,
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        self.distance, self.scale = distance, scale
        self.table: Table | None = None
        self._between: Array = np.zeros((0, 0))  # (n, n) distances between the training bags while fit runs

    # What a method writes

    def fit_distances(self, between: Array, target: NDArray[Any], known: Bools) -> NDArray[np.int64]:
        """Fit to the distances (n, n) between the training bags, with their label sets (n, L).

        Returns:
            Numbers of the bags to keep, in ascending order and at least one: those whose distances :meth:`values_at`
            takes.
        """
        raise NotImplementedError

    def values_at(self, distances: Tensor) -> Tensor:
        """Decision values (B, L), of which 0 scores 1/2, from the distances (B, K) float64 to the kept bags."""
        raise NotImplementedError

    # What is shared

    def use_distances(self, table: Table, shift: Array, spread: Array) -> None:
        """Take distances from a table (N, N) of all bags of the data set, whose instances were scaled by (D,) each."""
        self.table = table
        self.set_fitted(shift=shift, spread=spread)

    def fit(self, examples: Bags, target: NDArray[Any], known: NDArray[Any]) -> None:
        if self.table is None:
            shift, spread = shift_and_spread(self.scale, [examples.instances])
            self.set_fitted(shift=shift, spread=spread)
            bags = self._scaled(examples)
            self._between = bag_distances(self.distance, bags, bags).astype(np.float64)
        else:
            self._between = self.table[examples.index][:, examples.index].astype(np.float64)
        super().fit(examples, target, known)
        self._between = np.zeros((0, 0))

    def fit_once(self, examples: Bags, target: NDArray[Any], known: Bools) -> None:
        kept = examples.take(self.fit_distances(self._between, target, known))
        self.set_fitted(kept_instances=kept.instances, kept_offsets=kept.offsets, kept_index=kept.index)

    def fold_scores(self, examples: Bags, target: NDArray[Any], known: Bools) -> FoldScores:
        between = self._between

        def scores(fitted: Bools, held: Bools) -> Array:
            kept = np.flatnonzero(fitted)[self.fit_distances(between[fitted][:, fitted], target[fitted], known[fitted])]
            values = self.values_at(torch.from_numpy(between[held][:, kept]).to(self.device))
            found: Array = softsign_score(values).cpu().numpy()
            return found

        return scores

    def bag_decision(self, bag: Tensor, mask: Tensor, index: Tensor) -> Tensor:
        where = index.cpu().numpy()
        if self.table is not None and (where >= 0).all():
            distances = self.table[where][:, self.kept_index.cpu().numpy()]
        else:
            offsets = np.r_[0, mask.sum(1).cumsum(0).cpu().numpy()]
            new = Bags(bag[mask].cpu().numpy(), offsets, where)
            kept = Bags(*(part.cpu().numpy() for part in (self.kept_instances, self.kept_offsets, self.kept_index)))
            distances = bag_distances(self.distance, self._scaled(new), self._scaled(kept))
        return softsign_score(self.values_at(torch.from_numpy(distances).double().to(self.device)))

    def details(self) -> dict[str, Any]:
        """The settings of ``tuned`` as they were used, and how many training bags are kept."""
        return super().details() | {"kept": len(self.kept_index)}

    def _scaled(self, bags: Bags) -> Bags:
        return bags.scaled(self.shift.cpu().numpy(), self.spread.cpu().numpy())
