"""What every fitted method shares: features of a frozen backbone in, probabilities out, no gradient."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.batch import BagBatch, Batch
from retdm.errors import UserError
from retdm.methods.base import Method
from retdm.methods.components.encoder import Encoder, View, autocast


class Features(nn.Module):
    """Images (B, 3, H, W) to features (B, F) of a frozen backbone, float32.

    Args:
        backbone: the network; it stands still, in evaluation mode.
        view: ``multilevel`` (every stage), ``embedding`` (``fc``, the last) or names of stages.
    """

    def __init__(self, backbone: Backbone, view: str | Sequence[str | int] = "multilevel") -> None:
        super().__init__()
        self.backbone = backbone.freeze()
        views = {"multilevel": backbone.stages, "embedding": backbone.stages[-1:]}
        if isinstance(view, str) and view not in views:
            stages = ", ".join(backbone.stages)
            raise UserError(f"method.features={view} is not known", f"multilevel, embedding, or a list of: {stages}")
        chosen = views[view] if isinstance(view, str) else tuple(map(str, view))
        if unknown := [name for name in chosen if name not in backbone.stages]:
            raise UserError(
                f"method.features names {unknown[0]}, which {backbone.name} has not",
                f"its stages: {', '.join(backbone.stages)}",
            )
        self.stages = tuple(name for name in backbone.stages if name in chosen)
        self.autocast: torch.dtype | None = None
        self.given = False  # as of ``Encoder``
        self.kept = "multilevel"

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        return image.float() if self.given else self._multilevel(image, self.stages)

    @torch.no_grad()
    def seen(self, image: Tensor) -> Tensor:
        """Features of every stage of the backbone: what is kept, so that all views share it."""
        return self._multilevel(image, self.backbone.stages)

    def columns(self) -> NDArray[np.int64]:
        """Those of :meth:`seen` that are this view's."""
        widths = self.widths()
        ends = dict(zip(widths, np.cumsum(list(widths.values())), strict=True))
        return np.concatenate([np.arange(ends[name] - widths[name], ends[name]) for name in self.stages])

    def _multilevel(self, image: Tensor, stages: Sequence[str]) -> Tensor:
        with autocast(image, self.autocast):
            features = self.backbone.multilevel(image, stages)
        return features.float()

    @torch.no_grad()
    def widths(self) -> dict[str, int]:
        """Features of every stage of the backbone, in the order in which they stand."""
        size = self.backbone.smallest
        blank = next(self.backbone.parameters()).new_zeros(1, 3, size, size)
        widths = {}
        for name, level in self.backbone.levels(blank):
            if name in self.backbone.stages:
                widths[name] = 4 * level.shape[1]
        if "fc" in self.backbone.stages:
            widths["fc"] = self.backbone.vector(level).shape[1]
        return widths


class FittedMethod(Method):
    """A method whose training is one call of :meth:`fit` on features; what it learns stands in buffers.

    Batches bring images (B, 3, H, W), or in their place features that a cache has kept.

    Args:
        backbone: frozen network.
        labels: names of the L labels.
        features: see :class:`Features`.
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
        self.encoder = Features(backbone, features)
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

    def scores(self, batch: Batch) -> Tensor:
        return self.decision(self.encoder(batch.image).double())


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

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        instances: View = "cells",
        grid: int = 3,
        decide: str = "half",
        seed: int = 0,
    ) -> None:
        super().__init__(backbone, labels, decide=decide, seed=seed)
        self.encoder = Encoder(backbone.freeze(), view=instances, grid=grid)

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

    def scores(self, batch: Batch | BagBatch) -> Tensor:
        instances, mask = self.encoder.instances(batch)
        return self.bag_decision(instances.double(), mask, batch.index)

    @property
    def scores_instances(self) -> bool:
        return type(self).instance_decision is not BagMethod.instance_decision

    def instance_scores(self, batch: Batch | BagBatch) -> Tensor:
        """A score in [0, 1] of each instance (B, N, L); see :meth:`instance_decision`."""
        instances, mask = self.encoder.instances(batch)
        return self.instance_decision(instances.double(), mask)


def softsign_score(decision: Tensor) -> Tensor:
    """Decision values of any size to scores in [0, 1] of the same order, 0 to 1/2: 1/2 + f / (2 (1 + |f|))."""
    return 0.5 + 0.5 * decision / (1 + decision.abs())
