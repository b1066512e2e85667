"""What every fitted method shares: features of a frozen backbone in, probabilities out, no gradient."""

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retdm.backbones.base import Backbone
from retdm.batch import Batch
from retdm.errors import UserError
from retdm.methods.base import Method, autocast


class Features(nn.Module):
    """Images (B, 3, H, W) to features (B, F) of a frozen backbone, float32.

    Args:
        backbone: the network; it stands still, in evaluation mode.
        view: ``multilevel`` (every stage), ``embedding`` (``fc``, the last) or names of stages.
    """

    def __init__(self, backbone: Backbone, view: str | Sequence[str | int] = "multilevel") -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
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
        self.eval()

    def train(self, mode: bool = True) -> "Features":
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Tensor, stages: Sequence[str] | None = None) -> Tensor:
        with autocast(image, self.autocast):
            features = self.backbone.multilevel(image, stages or self.stages)
        return features.float()

    @torch.no_grad()
    def widths(self) -> dict[str, int]:
        """Features of every stage of the backbone, in the order in which they stand."""
        size = self.backbone.smallest
        blank = next(self.backbone.parameters()).new_zeros(1, 3, size, size)
        return {name: self.backbone.multilevel(blank, [name]).shape[1] for name in self.backbone.stages}


class FittedMethod(Method):
    """A method whose training is one call of :meth:`fit` on features; what it learns stands in buffers.

    Batches bring images (B, 3, H, W), or in their place features (B, F) that a cache has kept.

    Args:
        backbone: frozen network.
        labels: names of the L labels.
        features: see :class:`Features`.
        decide, seed: see :class:`retdm.methods.base.Method`.
    """

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
        self.image_net = Features(backbone, features)

    # What a method writes

    def fit(self, examples: NDArray[Any], target: NDArray[Any], known: NDArray[Any]) -> None:
        """Learn from features (n, F), label sets (n, L) of 0 and 1, and which of their cells are known (n, L)."""
        raise NotImplementedError

    def decision(self, features: Tensor) -> Tensor:
        """Features (B, F) to probabilities (B, L), float64."""
        raise NotImplementedError

    def details(self) -> dict[str, Any]:
        """What ``metrics.json`` says beside the criteria, plain values."""
        return {}

    # What the commands of retdm.runs call

    def scores(self, batch: Batch) -> Tensor:
        features = batch.image if batch.image.ndim == 2 else self.image_net(batch.image)
        return self.decision(features.double())

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return batch if batch.image.ndim == 2 else super().on_after_batch_transfer(batch, dataloader_idx)
