"""MIMLSVM (Zhou & Zhang, NIPS 2006): a bag as its distances to medoids, and a machine a label on them."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.methods.components.bag_distances import Kind
from retdm.methods.components.classifiers import fit_machines, rbf_decision
from retdm.methods.components.clustering import k_medoids
from retdm.methods.components.labels import Array, Bools
from retdm.methods.components.standardise import Scale
from retdm.methods.on_bags.distance_method import DistanceMethod
from retdm.ranges import Above, Between


class MIMLSVM(DistanceMethod):
    """RBF machines on the distances of a bag to the medoids of the training bags.

    Settings are those of the authors' code, which takes maximal Hausdorff distances between instances in [0, 1] and
    chooses label sets by the T-criterion (``decide``). A constant label scores (positives + 1) / (rows + 2).

    Args:
        medoids: their number, as a share of the training bags, rounded down; at least one.
        gamma: of the kernel exp(-gamma ||x - x'||²) on distances to medoids.
        C: weight of the machines' losses.
        distance, scale, fitted: see :class:`retdm.methods.on_bags.distance_method.DistanceMethod`.
    """

    candidates = ({"gamma": (0.02, 0.2, 2.0), "C": (1.0,)}, {"gamma": (0.02, 0.2), "C": (10.0,)})
    support: Tensor  # (T, K) distances of the support bags to the medoids
    duals: Tensor  # (L, T)
    intercepts: Tensor  # (L,)

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        medoids: Annotated[float, Between(0, 1, with_low=False)] = 0.2,
        gamma: Annotated[float, Above(0)] = 0.2,
        C: Annotated[float, Above(0)] = 1.0,
        distance: Kind = "max_hausdorff",
        scale: Scale = "minmax",
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, distance=distance, scale=scale, **fitted)
        self.medoids, self.gamma, self.C = medoids, gamma, C

    def fit_distances(self, between: Array, target: NDArray[Any], known: Bools) -> NDArray[np.int64]:
        medoids = k_medoids(between, max(1, int(self.medoids * len(between))), self.seed)
        rows = between[:, medoids]
        machines = fit_machines(rows, target, known, C=self.C, gamma=self.gamma)
        support = machines.support
        self.set_fitted(support=rows[support], duals=machines.duals[:, support], intercepts=machines.intercepts)
        return medoids

    def values_at(self, distances: Tensor) -> Tensor:
        return rbf_decision(distances, self.support, self.duals, self.intercepts, self.gamma)
