"""Features of several depths of a frozen backbone, side by side."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch, BagBatch, FeatureBatch
from retdm.errors import UserError
from retdm.methods.components.encoder import autocast


class MultilevelEncoder(nn.Module):
    """Images (B, 3, H, W) to features (B, D) of some stages of a frozen backbone, float32.

    What it extracts are the features of all stages, so that encoders of different stages share one cache.

    Args:
        backbone: the network, which is frozen here.
        stages: ``multilevel`` (every stage), ``embedding`` (``fc``, the last), or names of stages.

    Raises:
        UserError: the backbone has no such stage.
    """

    def __init__(self, backbone: Backbone, stages: str | Sequence[str | int] = "multilevel") -> None:
        super().__init__()
        self.backbone = backbone.freeze()
        named = {"multilevel": backbone.stages, "embedding": backbone.stages[-1:]}
        if isinstance(stages, str) and stages not in named:
            there = ", ".join(backbone.stages)
            raise UserError(f"method.features={stages} is not known", f"multilevel, embedding, or a list of: {there}")
        chosen = named[stages] if isinstance(stages, str) else tuple(map(str, stages))
        if unknown := [name for name in chosen if name not in backbone.stages]:
            raise UserError(
                f"method.features names {unknown[0]}, which is no stage of {backbone.name}",
                f"its stages: {', '.join(backbone.stages)}",
            )
        self.stages = tuple(name for name in backbone.stages if name in chosen)
        self.autocast: torch.dtype | None = None
        self.cached_as = "multilevel"

    @property
    def width(self) -> int:
        return sum(self.widths(self.stages).values())

    @torch.no_grad()
    def widths(self, stages: Sequence[str] | None = None) -> dict[str, int]:
        """How many features each of some stages of the backbone has (None: of all), in the order in which they stand
        side by side."""
        stages = self.backbone.stages if stages is None else stages
        size = self.backbone.smallest
        blank = next(self.backbone.parameters()).new_zeros(1, 3, size, size)
        widths = {}
        for name, level in self.backbone.levels(blank):
            if name in stages:
                widths[name] = 4 * level.shape[1]
        if "fc" in stages:
            widths["fc"] = self.backbone.vector(level).shape[1]
        return widths

    @torch.no_grad()
    def extract(self, images: Tensor) -> Tensor:
        """Features (B, F) of every stage of the backbone."""
        return self._multilevel(images, self.backbone.stages)

    def columns(self) -> NDArray[np.int64]:
        """Those of the F extracted features that belong to this encoder's stages."""
        widths = self.widths()
        ends = dict(zip(widths, np.cumsum(list(widths.values())), strict=True))
        return np.concatenate([np.arange(ends[name] - widths[name], ends[name]) for name in self.stages])

    @torch.no_grad()
    def forward(self, batch: AnyBatch) -> Tensor:
        """Features (B, D) of the chosen stages; precomputed ones as they come."""
        if isinstance(batch, FeatureBatch):
            return batch.features.float()
        if isinstance(batch, BagBatch):
            raise TypeError("a multilevel encoder reads images, not bags")
        return self._multilevel(batch.image, self.stages)

    def _multilevel(self, images: Tensor, stages: Sequence[str]) -> Tensor:
        with autocast(images, self.autocast):
            features = self.backbone.multilevel(images, stages)
        return features.float()
