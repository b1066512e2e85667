"""What every fitted method shares: features of a frozen backbone in, probabilities out, no gradient."""

from typing import Annotated, Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.batch import BagBatch, Batch, FeatureBatch
from retdm.methods.base import Method
from retdm.methods.components.encoder import BackboneEncoder, Regions
from retdm.methods.components.multilevel_encoder import MultilevelEncoder
from retdm.ranges import AtLeast


class FittedMethod(Method):
    """A method whose training is one call of :meth:`fit` on features; what it learns stands in buffers.

    Batches bring images (B, 3, H, W), or in their place features that were computed before.

    Args:
        backbone: frozen network.
        labels: names of the L labels.
        features: see :class:`retdm.methods.components.multilevel_encoder.MultilevelEncoder`.
        decide, seed: see :class:`retdm.methods.base.Method`.

    Attributes:
        learned: names of buffers whose shape the training rows decide: empty until :meth:`set_fitted` or a checkpoint.
    """

    fitted_buffers: ClassVar[tuple[str, ...]] = ()
    exports: ClassVar[bool] = False
    explains: ClassVar[bool] = False

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        features: str | list[str | int] = "multilevel",
        decide: str = "half",
        seed: int = 0,
    ) -> None:
        super().__init__(backbone, labels, decide=decide, seed=seed)
        self.encoder = MultilevelEncoder(backbone, features)
        for name in self.fitted_buffers:
            self.register_buffer(name, torch.zeros(0, dtype=torch.float64))

    def set_fitted(self, **found: NDArray[Any] | Tensor) -> None:
        """Set buffers that are named in :attr:`fitted_buffers`."""
        for name, values in found.items():
            setattr(self, name, torch.as_tensor(values, device=self.device).contiguous())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in self.fitted_buffers:  # they take the shape of what comes
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    # What a method writes

    def fit(self, examples: Any, target: NDArray[Any], known: NDArray[Any]) -> None:
        """Learn from features float32 (n, F), label sets (n, L) of 0 and 1, and which cells are known (n, L)."""
        raise NotImplementedError

    def decision(self, features: Tensor) -> Tensor:
        """Features (B, F) to probabilities (B, L), float64."""
        raise NotImplementedError

    def details(self) -> dict[str, Any]:
        """What ``metrics.json`` says beside the criteria, plain values."""
        return {}

    def explain(self, examples: Any) -> dict[str, NDArray[Any]]:
        """What ``predictions.npz`` says of the test part's examples beside their scores, arrays by name; asked where
        ``explains``."""
        raise NotImplementedError

    # What the commands of retdm.runs call

    def scores(self, batch: Batch | FeatureBatch) -> Tensor:
        return self.decision(self.encoder(batch).double())


class BagMethod(FittedMethod):
    """A fitted method that learns from bags: given ones, or images as the regions that a frozen backbone sees.

    A subclass writes :meth:`fit`, :meth:`bag_decision` and, where it can tell, :meth:`instance_decision`.

    Args:
        backbone, labels: see :class:`FittedMethod`.
        instances: what an image's instances are: ``cells`` of the backbone's last map, or crops of a ``grid``.
        grid: crops a side.
        decide, seed: see :class:`FittedMethod`.
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
        decide: str = "half",
        seed: int = 0,
    ) -> None:
        super().__init__(backbone, labels, decide=decide, seed=seed)
        self.encoder = BackboneEncoder(backbone.freeze(), view=instances, grid=grid)

    # What a method writes

    def fit(self, examples: Bags, target: NDArray[Any], known: NDArray[Any]) -> None:
        """Learn from n bags, label sets (n, L) of 0 and 1, and which of their cells are known (n, L)."""
        raise NotImplementedError

    def bag_decision(self, bag: Tensor, mask: Tensor, index: Tensor) -> Tensor:
        """Bags (B, N, D) float64 with their mask (B, N), and their places in the data set (B,), to probabilities
        (B, L), float64."""
        raise NotImplementedError

    def instance_decision(self, bag: Tensor, mask: Tensor) -> Tensor:
        """Bags (B, N, D) float64 with their mask (B, N) to a score in [0, 1] of each instance (B, N, L)."""
        raise NotImplementedError

    # What the commands of retdm.runs call

    def scores(self, batch: Batch | FeatureBatch | BagBatch) -> Tensor:
        instances, mask = self.encoder.instances(batch)
        return self.bag_decision(instances.double(), mask, batch.index)

    @property
    def scores_instances(self) -> bool:
        return type(self).instance_decision is not BagMethod.instance_decision

    def instance_scores(self, batch: Batch | FeatureBatch | BagBatch) -> Tensor:
        """A score in [0, 1] of each instance (B, N, L); see :meth:`instance_decision`."""
        instances, mask = self.encoder.instances(batch)
        return self.instance_decision(instances.double(), mask)


def softsign_score(decision: Tensor) -> Tensor:
    """Decision values of any size to scores in [0, 1] of the same order, 0 to 1/2: 1/2 + f / (2 (1 + |f|))."""
    return 0.5 + 0.5 * decision / (1 + decision.abs())
