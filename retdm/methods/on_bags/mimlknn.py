"""MIMLkNN (Zhang, ICTAI 2010): label counts of a bag's nearest bags, and of those to which it is near, weighed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.methods.components.bag_distances import Array, Kind, Scale
from retdm.methods.components.shallow import Bools, check_positive, constant_labels, smoothed_prior
from retdm.methods.components.svm import inverse_softsign_score
from retdm.methods.on_bags.distance_method import DistanceMethod


class MIMLkNN(DistanceMethod):
    """A bag's neighbours are its ``references``, the r nearest training bags, and its ``citers``, the training bags
    that have it among their own c nearest. How many of them carry each label, weighed by the least squares solution
    for targets -1 and 1 on the training bags, is the decision value.

    Bags at equal distances are all neighbours or none, so neither count depends on the order of the bags. An unknown
    cell counts as its label's share, and a label's weights are learnt where it is known. A label of one class scores
    (positives + 1) / (rows + 2).

    Args:
        references: r.
        citers: c.
        distance, scale, tune, candidates, fitted: see :class:`retdm.methods.on_bags.distance_method.DistanceMethod`.
    """

    tuned = ("references", "citers")
    fitted_buffers = (*DistanceMethod.fitted_buffers, "carried", "reach", "weights", "intercepts")
    carried: Tensor  # (n, L) of 0 and 1, or the label's share
    reach: Tensor  # (n,) distance of each bag to the c-th nearest other
    weights: Tensor  # (L, L)
    intercepts: Tensor  # (L,) 0, but for a label of one class

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        references: int = 10,
        citers: int = 20,
        distance: Kind = "average_hausdorff",
        scale: Scale = "minmax",
        candidates: Sequence[Sequence[int]] = ((4, 6), (10, 10), (10, 20), (20, 10), (20, 20)),
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, distance=distance, scale=scale, candidates=candidates, **fitted)
        check_positive(references=references, citers=citers)
        self.references, self.citers = references, citers

    def fit_distances(self, between: Array, target: NDArray[Any], known: Bools) -> NDArray[np.int64]:
        one, share = constant_labels(target, known), smoothed_prior(target, known)
        carried = np.where(known, target > 0, share)
        others = torch.from_numpy(between).clone().fill_diagonal_(torch.inf)
        self.set_fitted(carried=carried, reach=reach(others, self.citers))
        counts = self._counts(others).cpu().numpy()
        signs = np.where(target > 0, 1.0, -1.0)
        weights = np.linalg.lstsq(counts, signs, rcond=None)[0]
        for j in np.flatnonzero(~known.all(0)):
            rows = known[:, j]
            weights[:, j] = np.linalg.lstsq(counts[rows], signs[rows, j], rcond=None)[0]
        weights[:, one] = 0
        self.set_fitted(weights=weights, intercepts=np.where(one, inverse_softsign_score(share), 0))
        return np.arange(len(between))

    def values_at(self, distances: Tensor) -> Tensor:
        return self._counts(distances) @ self.weights + self.intercepts

    def _counts(self, distances: Tensor) -> Tensor:
        """How many neighbours of bags carry each label, from their distances (B, n), infinite to themselves. (B, L)"""
        distances = distances.to(self.device)
        near = (distances <= reach(distances, self.references)[:, None]) | (distances <= self.reach)
        return (near & distances.isfinite()).double() @ self.carried


def reach(distances: Tensor, k: int) -> Tensor:
    """The k-th smallest of each row, or the largest where there are fewer. (B, n) -> (B,)"""
    return distances.kthvalue(min(k, distances.shape[1])).values
