"""EMD-SVM: support vector machines on exp(-distance / mean distance) between bags, the earth mover's by default.

The kernel is that of Zhang, Marszałek, Lazebnik and Schmid (IJCV 2007) for images as sets of local features.
"""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.methods.components.bag_distances import Kind
from retdm.methods.components.classifiers import fit_machines
from retdm.methods.components.labels import Array, Bools
from retdm.methods.components.standardise import Scale
from retdm.methods.on_bags.distance_method import DistanceMethod
from retdm.ranges import Above


class EMDSVM(DistanceMethod):
    """One machine a label on the kernel exp(-d / width), ``width`` the mean distance between training bags.

    Where that kernel is not positive semidefinite on the training bags, its negative eigenvalues are set to 0, and the
    values of new bags are projected in the same way. A constant label scores (positives + 1) / (rows + 2).

    Args:
        C: weight of the machines' losses.
        distance, scale, fitted: see :class:`retdm.methods.on_bags.distance_method.DistanceMethod`.
    """

    candidates = {"C": (1.0, 3.0, 10.0, 30.0, 100.0)}
    width: Tensor  # ()
    duals: Tensor  # (L, K)
    intercepts: Tensor  # (L,)

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        C: Annotated[float, Above(0)] = 10.0,
        distance: Kind = "emd",
        scale: Scale = "none",
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, distance=distance, scale=scale, **fitted)
        self.C = C

    def fit_distances(self, between: Array, target: NDArray[Any], known: Bools) -> NDArray[np.int64]:
        width = between.mean() or 1.0
        kernel = np.exp(-between / width)
        values, vectors = np.linalg.eigh(kernel)
        positive = vectors[:, values > 0]
        indefinite = positive.shape[1] < len(kernel)
        if indefinite:
            kernel = (positive * values[values > 0]) @ positive.T
        machines = fit_machines(kernel, target, known, kernel="precomputed", C=self.C)
        duals = machines.duals
        if indefinite:
            duals = duals @ positive @ positive.T
        kept = np.flatnonzero((duals != 0).any(0))
        if not len(kept):  # no label has a machine
            kept = np.arange(1)
        self.set_fitted(width=np.array(width), duals=duals[:, kept], intercepts=machines.intercepts)
        return kept

    def values_at(self, distances: Tensor) -> Tensor:
        return (-distances / self.width).exp() @ self.duals.T + self.intercepts
