"""What methods on bags share. Notation: n bags, B bags and N places of a batch, D features, L labels."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.batch import BagBatch, Batch, FeatureBatch
from retdm.methods.components.encoder import BackboneEncoder, Regions
from retdm.methods.components.labels import Array, Bools
from retdm.methods.fitted import FittedMethod
from retdm.methods.tuning import FoldScores, wrong_cells
from retdm.ranges import AtLeast

BATCH = 256  # bags that are padded at once


class BagMethod(FittedMethod):
    """A method that is fitted to bags: those of a data set, or images as the regions of a frozen backbone.

    A subclass writes :meth:`fit_once`, which takes n :class:`retdm.bags.Bags`, and :meth:`bag_decision`. One that
    can score instances sets ``scores_instances = True`` and writes :meth:`instance_decision`.

    Args:
        backbone, labels: see :class:`retdm.methods.fitted.FittedMethod`.
        instances: of an image: ``cells`` of the backbone's last map, or crops of a ``grid``.
        grid: crops a side.
        fitted: see :class:`retdm.methods.fitted.FittedMethod`. Trials are compared by their wrong cells.
    """

    takes: ClassVar[frozenset[type]] = frozenset({Batch, BagBatch})
    encoder: BackboneEncoder

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        instances: Regions = "cells",
        grid: Annotated[int, AtLeast(1)] = 3,
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        self.encoder = BackboneEncoder(backbone.freeze(), view=instances, grid=grid)

    # What a method writes

    def bag_decision(self, bag: Tensor, mask: Tensor, index: Tensor) -> Tensor:
        """Scores in [0, 1] of bags, float64 (B, L).

        Args:
            bag: (B, N, D) float64.
            mask: (B, N).
            index: (B,) places in the data set, -1 for a bag of none.
        """
        raise NotImplementedError

    def instance_decision(self, bag: Tensor, mask: Tensor) -> Tensor:
        """Scores in [0, 1] of the instances of bags (B, N, D) float64 with their mask (B, N). (B, N, L)"""
        raise NotImplementedError

    # What is shared

    def scores(self, batch: Batch | FeatureBatch | BagBatch) -> Tensor:
        self.check_fitted()
        instances, mask = self.encoder.instances(batch)
        return self.bag_decision(instances.double(), mask, batch.index)

    def instance_scores(self, batch: Batch | FeatureBatch | BagBatch) -> Tensor:
        """A score in [0, 1] of each instance (B, N, L); see :meth:`instance_decision`."""
        self.check_fitted()
        instances, mask = self.encoder.instances(batch)
        return self.instance_decision(instances.double(), mask)

    def scores_of(self, bags: Bags) -> Array:
        """Scores of n bags, (n, L)."""
        return over_bags(self.bag_decision, bags, self.device)

    def fold_scores(self, examples: Bags, target: NDArray[Any], known: NDArray[np.bool_]) -> FoldScores:
        def scores(fitted: Bools, held: Bools) -> Array:
            self.fit_once(examples.take(fitted), target[fitted], known[fitted])
            return self.scores_of(examples.take(held))

        return scores

    def cross_validation_loss(self, scores: Array, target: NDArray[Any], known: NDArray[np.bool_]) -> float:
        return wrong_cells(scores, target, known)


def over_bags(function: Callable[[Tensor, Tensor, Tensor], Tensor], bags: Bags, device: torch.device) -> Array:
    """Apply a function that takes what :meth:`BagMethod.bag_decision` takes to all bags, batch by batch. (n, …)"""
    found = []
    for start in range(0, len(bags), BATCH):
        part = bags.take(slice(start, start + BATCH))
        bag, mask, index = (torch.from_numpy(array).to(device) for array in (*part.pad(), part.index))
        found.append(function(bag, mask, index).cpu())
    rows: Array = torch.cat(found).numpy()
    return rows
