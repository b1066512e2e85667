"""MIMLkNN (Zhang, ICTAI 2010): weighted label counts of a bag's nearest bags, and of those that it is nearest to."""

from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.methods.components.bag_distances import Kind
from retdm.methods.components.labels import Array, Bools, constant_labels, smoothed_prior
from retdm.methods.components.softsign import inverse_softsign_score
from retdm.methods.components.standardise import Scale
from retdm.methods.on_bags.distance_method import DistanceMethod
from retdm.ranges import AtLeast


class MIMLkNN(DistanceMethod):
    """A bag's neighbours are its ``references``, the r nearest training bags, and its ``citers``, the training bags
    that have it among their own c nearest. The decision value is a weighted sum of how many of them have each label, by
    the least squares solution for targets -1 and 1 on the training bags.

    Bags at equal distances are all neighbours or none, so neither count depends on the order of the bags. An unknown
    cell counts as its label's smoothed prior, and a label's weights are fitted where it is known. A constant label
    scores (positives + 1) / (rows + 2).

    Args:
        references: r.
        citers: c.
        distance, scale, fitted: see :class:`retdm.methods.on_bags.distance_method.DistanceMethod`.
    """

    candidates = ({"references": (4,), "citers": (6,)}, {"references": (10, 20), "citers": (10, 20)})
    labelled: Tensor  # (n, L) of 0 and 1, or the label's smoothed prior
    reach: Tensor  # (n,) distance of each bag to the c-th nearest other
    weights: Tensor  # (L, L)
    intercepts: Tensor  # (L,) 0 for all but constant labels

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        references: Annotated[int, AtLeast(1)] = 10,
        citers: Annotated[int, AtLeast(1)] = 20,
        distance: Kind = "average_hausdorff",
        scale: Scale = "minmax",
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, distance=distance, scale=scale, **fitted)
        self.references, self.citers = references, citers

    def fit_distances(self, between: Array, target: NDArray[Any], known: Bools) -> NDArray[np.int64]:
        constant, prior = constant_labels(target, known), smoothed_prior(target, known)
        labelled = np.where(known, target > 0, prior)
        others = torch.from_numpy(between).clone().fill_diagonal_(torch.inf)
        self.set_fitted(labelled=labelled, reach=reach(others, self.citers))
        counts = self._counts(others).cpu().numpy()
        signs = np.where(target > 0, 1.0, -1.0)
        weights = np.linalg.lstsq(counts, signs, rcond=None)[0]
        for j in np.flatnonzero(~known.all(0)):
            rows = known[:, j]
            weights[:, j] = np.linalg.lstsq(counts[rows], signs[rows, j], rcond=None)[0]
        weights[:, constant] = 0
        self.set_fitted(weights=weights, intercepts=np.where(constant, inverse_softsign_score(prior), 0))
        return np.arange(len(between))

    def values_at(self, distances: Tensor) -> Tensor:
        return self._counts(distances) @ self.weights + self.intercepts

    def _counts(self, distances: Tensor) -> Tensor:
        """How many neighbours of bags have each label (B, L), from distances (B, n), infinite to themselves."""
        distances = distances.to(self.device)
        near = (distances <= reach(distances, self.references)[:, None]) | (distances <= self.reach)
        return (near & distances.isfinite()).double() @ self.labelled


def reach(distances: Tensor, k: int) -> Tensor:
    """The k-th smallest of each row, or the largest where there are fewer. (B, n) -> (B,)"""
    return distances.kthvalue(min(k, distances.shape[1])).values
