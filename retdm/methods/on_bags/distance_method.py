"""What methods share that see bags by their distances to training bags alone.

Notation: n training bags, K of them kept, B bags to score, D features, L labels.
"""

from typing import Any, ClassVar, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.errors import UserError
from retdm.methods.components.bag_distances import Array, Kind, Scale, bag_distances, measured
from retdm.methods.components.shallow import Bools
from retdm.methods.fitted import softsign_score
from retdm.methods.on_bags.base import TunedBagMethod


class Table(Protocol):
    """Distances float32 (N, N) between all bags of a data set, an array or on disk."""

    def __getitem__(self, rows: NDArray[Any], /) -> NDArray[np.float32]:
        """Some rows. (n, N)"""
        ...


class DistanceMethod(TunedBagMethod):
    """A method on bags that writes :meth:`fit_distances` and :meth:`values_at`.

    Distances come from a table of the whole data set where one was given (:meth:`give_table`), else they are computed;
    both ways give the same scores.

    Args:
        distance: which, see :func:`retdm.methods.components.bag_distances.bag_distances`.
        scale: of instances before, see :func:`retdm.methods.components.bag_distances.measured`; measured over the
            training bags' (with a table, of the training part, whatever ``refit`` adds) and kept for new bags.
            MIMLSVM's authors measured it over all bags, those to be tested too.
        tune, candidates, fitted: see :class:`retdm.methods.on_bags.base.TunedBagMethod`.

    Attributes:
        table: (N, N) distances between all bags of the data set.
    """

    fitted_buffers: ClassVar[tuple[str, ...]] = ("shift", "spread", "kept_instances", "kept_offsets", "kept_index")
    shift: Tensor  # (D,)
    spread: Tensor  # (D,)
    kept_instances: Tensor  # float32 (T, D), as they came
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
        for key, value, kinds in (("distance", distance, Kind), ("scale", scale, Scale)):
            if value not in get_args(kinds):
                raise UserError(f"method.{key}={value} is not known", f"it is one of: {', '.join(get_args(kinds))}")
        self.distance, self.scale = distance, scale
        self.table: Table | None = None

    # What a method writes

    def fit_distances(self, between: Array, target: NDArray[Any], known: Bools) -> NDArray[np.int64]:
        """Learn from the distances (n, n) between the training bags, with their label sets (n, L).

        Returns:
            Those of the n bags, in ascending order and at least one, whose distances :meth:`values_at` asks for.
        """
        raise NotImplementedError

    def values_at(self, distances: Tensor) -> Tensor:
        """Distances (B, K) float64 of bags to the kept ones, to decision values (B, L), 0 for one half."""
        raise NotImplementedError

    # What is shared

    def give_table(self, table: Table, shift: Array, spread: Array) -> None:
        """Distances (N, N) between all bags of the data set, and the scale (D,) of instances behind them."""
        self.table = table
        self.set_fitted(shift=shift, spread=spread)

    def fit(self, examples: Bags, target: NDArray[Any], known: NDArray[Any]) -> None:
        known = known.astype(bool)
        if self.table is None:
            shift, spread = measured(self.scale, [examples.instances])
            self.set_fitted(shift=shift, spread=spread)
            bags = self._scaled(examples)
            between = bag_distances(self.distance, bags, bags).astype(np.float64)
        else:
            between = self.table[examples.index][:, examples.index].astype(np.float64)

        def scores(fitted: Bools, held: Bools) -> Array:
            rows = np.flatnonzero(fitted)
            kept = rows[self.fit_distances(between[fitted][:, fitted], target[fitted], known[fitted])]
            values = self.values_at(torch.from_numpy(between[held][:, kept]).to(self.device))
            found: Array = softsign_score(values).cpu().numpy()
            return found

        if self.tune:
            self.choose(scores, target, known)
        used = np.zeros(len(target), bool)
        used[self.fit_distances(between, target, known)] = True
        kept = examples.take(used)
        self.set_fitted(kept_instances=kept.instances, kept_offsets=kept.offsets, kept_index=kept.index)

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
