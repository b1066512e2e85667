"""A bag as one vector, the mean and extremes of its instances, and a support vector machine a label on it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.errors import UserError
from retdm.methods.components.classifiers import fit_machines, rbf_decision, scale_of
from retdm.methods.components.labels import Bools
from retdm.methods.components.softsign import softsign_score
from retdm.methods.components.standardise import standardised
from retdm.methods.on_bags.base import BagMethod, over_bags
from retdm.ranges import Above

Part = Literal["mean", "max", "min"]


class BagEmbedding(BagMethod):
    """RBF machines on ``parts`` of each bag side by side, standardised over the training bags.

    Such vectors are older than their names ("simple MI", the min-max kernel of Gärtner et al., ICML 2002).

    Args:
        parts: of ``mean``, ``max`` and ``min``, each over the instances of a bag, feature by feature.
        C: weight of the machines' losses.
        gamma: of their kernel exp(-gamma ||x - x'||²); None is 1 / (features times their variance).
        fitted: see :class:`retdm.methods.on_bags.base.BagMethod`.
    """

    candidates = {"C": (0.3, 1.0, 3.0, 10.0, 30.0)}
    mean: Tensor  # (F,) F the features of all parts
    deviation: Tensor  # (F,)
    support: Tensor  # (T, F) standardised
    duals: Tensor  # (L, T)
    intercepts: Tensor  # (L,)
    rbf_gamma: Tensor  # ()

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        parts: Sequence[Part] = ("mean", "max", "min"),
        C: Annotated[float, Above(0)] = 1.0,
        gamma: Annotated[float, Above(0)] | None = None,
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        if not parts:
            raise UserError("method.parts is empty", "name some of: mean, max, min")
        self.parts, self.C, self.gamma = tuple(parts), C, gamma

    def fit_once(self, examples: Bags, target: NDArray[Any], known: Bools) -> None:
        vectors = over_bags(lambda bag, mask, _: embedding(bag, mask, self.parts), examples, torch.device("cpu"))
        x, mean, deviation = standardised(vectors)
        gamma = scale_of(x) if self.gamma is None else self.gamma
        machines = fit_machines(x, target, known, C=self.C, gamma=gamma)
        support = machines.support
        self.set_fitted(mean=mean, deviation=deviation, rbf_gamma=np.array(gamma))
        self.set_fitted(support=x[support], duals=machines.duals[:, support], intercepts=machines.intercepts)

    def bag_decision(self, bag: Tensor, mask: Tensor, index: Tensor) -> Tensor:
        rows = (embedding(bag, mask, self.parts) - self.mean) / self.deviation
        return softsign_score(rbf_decision(rows, self.support, self.duals, self.intercepts, self.rbf_gamma))

    def details(self) -> dict[str, Any]:
        """C and gamma that were used, and how many training bags support the machines."""
        return super().details() | {"gamma": float(self.rbf_gamma), "support": len(self.support)}


def embedding(bag: Tensor, mask: Tensor, parts: Sequence[Part]) -> Tensor:
    """The parts side by side (B, D times parts), of bags (B, N, D) with their mask (B, N)."""
    mask = mask[..., None]
    found = {
        "mean": lambda: bag.where(mask, 0).sum(1) / mask.sum(1),
        "max": lambda: bag.where(mask, -torch.inf).amax(1),
        "min": lambda: bag.where(mask, torch.inf).amin(1),
    }
    return torch.cat([found[part]() for part in parts], 1)
