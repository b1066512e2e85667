"""MIMLSVM (Zhou & Zhang, NIPS 2006): a bag as its distances to medoids, and a machine a label on them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.errors import UserError
from retdm.methods.components.bag_distances import Array, Kind, Scale
from retdm.methods.components.shallow import Bools, check_positive
from retdm.methods.components.svm import fit_machines, rbf_decision
from retdm.methods.on_bags.distance_method import DistanceMethod

ROUNDS = 100  # of the k-medoids, at most


class MIMLSVM(DistanceMethod):
    """RBF machines on the distances of a bag to the medoids of the training bags.

    Settings are those of the authors' code, which measures maximal Hausdorff distances between instances in [0, 1] and
    chooses label sets by the T-criterion (``decide``). A label of one class scores (positives + 1) / (rows + 2).

    Args:
        medoids: their number, as a share of the training bags, rounded down; at least one.
        gamma: of the kernel exp(-gamma ||x - x'||²) on distances to medoids.
        C: weight of the machines' losses.
        distance, scale, tune, candidates, fitted: see :class:`retdm.methods.on_bags.distance_method.DistanceMethod`.
    """

    tuned = ("gamma", "C")
    fitted_buffers = (*DistanceMethod.fitted_buffers, "support", "duals", "intercepts")
    support: Tensor  # (T, K) distances of the training bags that support some machine to the medoids
    duals: Tensor  # (L, T)
    intercepts: Tensor  # (L,)

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        medoids: float = 0.2,
        gamma: float = 0.2,
        C: float = 1.0,
        distance: Kind = "max_hausdorff",
        scale: Scale = "minmax",
        candidates: Sequence[Sequence[float]] = ((0.02, 1.0), (0.2, 1.0), (2.0, 1.0), (0.02, 10.0), (0.2, 10.0)),
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, distance=distance, scale=scale, candidates=candidates, **fitted)
        check_positive(gamma=gamma, C=C)
        if not 0 < medoids <= 1:
            raise UserError(f"method.medoids={medoids} is out of range", "it is a share above 0, at most 1")
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


def k_medoids(between: Array, k: int, seed: int) -> NDArray[np.int64]:
    """k of n rows such that all lie near to one of them, from a random start.

    As in the authors' code, rows are first dealt to random medoids at random; then each group's medoid becomes the one
    with the least summed distance to the others (at a tie the first), and each row goes to its nearest medoid, a medoid
    to itself; until nothing changes.

    Args:
        between: distances (n, n).
        k: at most n.
        seed: of the start.

    Returns:
        (k,) different places, in ascending order.
    """
    rng = np.random.default_rng(seed)
    medoids = rng.choice(len(between), k, replace=False)
    group = rng.integers(k, size=len(between))
    group[medoids] = np.arange(k)
    for _ in range(ROUNDS):
        members = [np.flatnonzero(group == j) for j in range(k)]
        moved = np.array([rows[between[np.ix_(rows, rows)].sum(0).argmin()] for rows in members])
        if (moved == medoids).all():
            break
        medoids = moved
        group = between[:, medoids].argmin(1)
        group[medoids] = np.arange(k)
    return np.sort(medoids)
