"""What a method sees of its input: an image as one vector or as one vector a region, a bag as its instances."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from retdm.backbones.base import Backbone
from retdm.batch import BagBatch, Batch
from retdm.errors import UserError

View = Literal["embedding", "cells", "grid"]
BAG_WIDTH = 128  # of the net on given instances, where a method names none


class Encoder(nn.Module):
    """A backbone and what lies between it and a method. Images (B, 3, H, W) to embeddings (B, D), float32.

    The backbone may run in bfloat16; what follows never does, or scores would tie and ties count against us.

    Where the backbone cannot learn, because it is frozen or because the data gives instances instead of images, its
    features are standardised by the training part, and a layer becomes two with a ReLU between.

    Args:
        backbone: the network.
        width: D; None takes the backbone's own output as it is. A backbone whose output is not yet a linear map of
            this width gets one linear layer: pooled features are never negative, embeddings are.
        view: ``embedding`` sees an image as one vector; ``cells`` as those of the last feature map, ``grid`` as crops,
            each seen by itself.
        grid: crops a side.
        pool: how ``forward`` makes one vector of regions.

    Attributes:
        given: batches bring what :meth:`seen` gives in the place of images, because a cache has kept it.
    """

    def __init__(
        self,
        backbone: Backbone,
        width: int | None = None,
        *,
        view: View = "embedding",
        grid: int = 3,
        pool: Literal["average", "max"] = "average",
    ) -> None:
        super().__init__()
        if view not in get_args(View):
            raise UserError(f"method.instances={view} is not known", f"it is one of: {', '.join(get_args(View))}")
        if grid < 1:
            raise UserError(f"method.grid={grid} is too small", "it is a whole number from 1 up")
        self.backbone, self.view, self.grid, self.pool = backbone, view, grid, pool
        self.autocast: torch.dtype | None = None
        self.given = False
        seen = backbone.channels if view == "cells" else backbone.dim
        self.dim = width or seen
        self.layers: nn.Module
        if backbone.frozen:
            between = [] if width is None else [nn.Linear(seen, width), nn.ReLU(), nn.Linear(width, width)]
            self.layers = nn.Sequential(Standardise(seen), *between)
        else:
            fits = width is None or (view == "embedding" and backbone.projects and backbone.dim == width)
            self.layers = nn.Identity() if fits else nn.Linear(seen, self.dim)

    def requires_grad_(self, requires_grad: bool = True) -> "Encoder":
        super().requires_grad_(requires_grad)
        if self.backbone.frozen:
            self.backbone.requires_grad_(False)
        return self

    def measure(self, mean: Tensor, deviation: Tensor) -> None:
        """Tell a frozen net the moments of its features over the training part."""
        self.layers[0].measure(mean, deviation)  # type: ignore[index]

    @property
    def kept(self) -> str:
        """The name under which a cache keeps what :meth:`seen` gives."""
        return f"grid{self.grid}" if self.view == "grid" else self.view

    def seen(self, image: Tensor) -> Tensor:
        """What the backbone says of images (B, 3, H, W): a vector (B, F), or a map of regions (B, F, h, w)."""
        with autocast(image, self.autocast):
            if self.view == "cells":
                found = self.backbone.maps(image)
            elif self.view == "grid":
                found = self._crops(image)
            else:
                found = self.backbone.embedding(image)
        return found.float()

    def _crops(self, image: Tensor) -> Tensor:
        side = [size // self.grid for size in image.shape[-2:]]
        crops = image.unfold(2, side[0], side[0]).unfold(3, side[1], side[1])[:, :, : self.grid, : self.grid]
        crops = crops.permute(0, 2, 3, 1, 4, 5)
        found = self.backbone.embedding(crops.flatten(0, 2))
        regions: Tensor = found.unflatten(0, crops.shape[:3]).permute(0, 3, 1, 2)
        return regions

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W), or what was kept of it -> (B, D)"""
        found = image.float() if self.given else self.seen(image)
        if found.ndim == 4:
            found = found.amax((2, 3)) if self.pool == "max" else found.mean((2, 3))
        embedding: Tensor = self.layers(found)
        return embedding

    def instances(self, batch: Batch | BagBatch) -> tuple[Tensor, Tensor]:
        """Instances (B, N, D) of bags or of images' regions, row by row, and a mask (B, N) of those that are there."""
        if isinstance(batch, BagBatch):
            rows: Tensor = self.layers(batch.bag.float())
            return rows, batch.mask
        found = batch.image.float() if self.given else self.seen(batch.image)
        places = found.flatten(2).transpose(1, 2)
        return self.layers(places), places.new_ones(places.shape[:2], dtype=torch.bool)


class Standardise(nn.Module):
    """Features less their mean, divided by their deviation, both set by :meth:`measure`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def measure(self, mean: Tensor, deviation: Tensor) -> None:
        """A feature that never changes is left at its scale."""
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.deviation


def autocast(image: Tensor, to: torch.dtype | None) -> torch.autocast:
    """Where a backbone computes in ``to``; None computes in float32."""
    return torch.autocast(image.device.type, dtype=to or torch.bfloat16, enabled=to is not None)
