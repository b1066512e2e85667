"""Encoders: from the batches of a data set to the vectors that a method works on. Notation: B rows, N instances of a
row, F features of the backbone, D features of the encoder."""

from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch, BagBatch, Batch, FeatureBatch
from retdm.errors import UserError

Regions = Literal["cells", "grid"]
View = Literal["embedding"] | Regions
BAG_WIDTH = 128  # of the layers on instances that the data gives, where a method names no width


class Encoder(Protocol):
    """A backbone, and what turns its features into the vectors that a method works on.

    Attributes:
        backbone: the network that reads images.
        autocast: the type in which the backbone computes; None is float32.
    """

    backbone: Backbone
    autocast: torch.dtype | None

    @property
    def width(self) -> int:
        """D."""

    @property
    def cached_as(self) -> str:
        """The name that tells apart what encoders of one backbone extract: equal names share a cache."""

    def extract(self, images: Tensor) -> Tensor:
        """Features of the backbone for normalised images (B, 3, H, W), float32: a vector (B, F), or a map of regions
        (B, F, h, w). This is what a cache holds and a :class:`retdm.batch.FeatureBatch` brings."""

    def columns(self) -> NDArray[np.int64] | None:
        """Those of the F extracted features that this encoder works on; None: all."""

    def __call__(self, batch: AnyBatch) -> Tensor:
        """One vector a row, float32 (B, D)."""


class BackboneEncoder(nn.Module):
    """The backbone's last features, of a whole image or of each of its regions, and a layer behind them.

    The backbone may compute in bfloat16; the layers behind it never do, or scores would tie.

    Features are standardised by :meth:`set_moments`, and stay as they are until it is called. Where the backbone does
    not learn, because it is frozen or because the data gives instances instead of images, the layer becomes two with a
    ReLU between them.

    Args:
        backbone: the network.
        width: D; None adds no layer. A backbone whose output is already a linear map of this width gets none either:
            pooled features are never negative, embeddings are.
        view: ``embedding``: one vector an image; ``cells``: one a place of the last feature map; ``grid``: one a crop,
            each read as an image by itself.
        grid: crops a side.
        pool: how regions become one vector an image.
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
        self.backbone, self.view, self.grid, self.pool = backbone, view, grid, pool
        self.autocast: torch.dtype | None = None
        extracted = backbone.channels if view == "cells" else backbone.dim
        self.width = width or extracted
        behind: list[nn.Module] = []
        if width is not None and backbone.frozen:
            behind = [nn.Linear(extracted, width), nn.ReLU(), nn.Linear(width, width)]
        elif width is not None and not (view == "embedding" and backbone.projects and backbone.dim == width):
            behind = [nn.Linear(extracted, width)]
        self.layers = nn.Sequential(Standardise(extracted), *behind)

    def requires_grad_(self, requires_grad: bool = True) -> "BackboneEncoder":
        super().requires_grad_(requires_grad)
        if self.backbone.frozen:
            self.backbone.requires_grad_(False)
        return self

    def set_moments(self, mean: Tensor, deviation: Tensor) -> None:
        """Set what features are standardised by: mean and deviation over the training split, (F,) each."""
        self.layers[0].set_moments(mean, deviation)  # type: ignore[operator]

    @torch.no_grad()
    def start_orthogonal(self, features: Tensor, weight: Tensor) -> Tensor | None:
        """Let the layer begin as an orthogonal map that loses nothing of a linear classifier of standardised features.

        Its first rows are the principal directions of the training features, as many as there are; the others are
        orthogonal to them and to each other.

        Args:
            features: (n, F), standardised, of the training split.
            weight: (L, F) of the classifier.

        Returns:
            The classifier (L, D) of what the encoder gives; None where two layers with a ReLU between them stand
            there, and the classifier cannot be mapped through them.
        """
        behind = list(self.layers)[1:]
        if not behind:
            return weight
        if len(behind) > 1:
            return None
        (layer,) = behind
        assert isinstance(layer, nn.Linear)
        layer.weight.copy_(orthogonal_rows(features, len(layer.weight)))
        layer.bias.zero_()
        return weight @ layer.weight.T

    @property
    def cached_as(self) -> str:
        return f"grid{self.grid}" if self.view == "grid" else self.view

    def extract(self, images: Tensor) -> Tensor:
        """Features of images (B, 3, H, W): a vector (B, F), or a map of regions (B, F, h, w); float32."""
        with autocast(images, self.autocast):
            if self.view == "cells":
                features = self.backbone.maps(images)
            elif self.view == "grid":
                features = self._crops(images)
            else:
                features = self.backbone.embedding(images)
        return features.float()

    @property
    def has_instances(self) -> bool:
        """Images have regions: those of the view or, behind an embedding that pools them, the backbone's places."""
        return self.view != "embedding" or self.backbone.embeds_places

    def extract_with_regions(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`extract`, and the map of regions (B, F, h, w) behind it, in one pass of the backbone.

        In the view ``embedding`` a region is a place of the last map, in the space of the embedding, see
        :meth:`retdm.backbones.base.Backbone.embedding_and_places`; in other views both are one.

        Raises:
            UserError: the backbone's embedding is no function of single places.
        """
        if self.view != "embedding":
            features = self.extract(images)
            return features, features
        if not self.backbone.embeds_places:
            raise UserError(
                f"the embedding of {self.backbone.name} does not pool the places of its last map, which then have no "
                "scores",
                "method.head=csra, which scores these places",
            )
        with autocast(images, self.autocast):
            features, places = self.backbone.embedding_and_places(images)
        return features.float(), places.float()

    def columns(self) -> None:
        return None

    def _crops(self, images: Tensor) -> Tensor:
        side = [size // self.grid for size in images.shape[-2:]]
        crops = images.unfold(2, side[0], side[0]).unfold(3, side[1], side[1])[:, :, : self.grid, : self.grid]
        crops = crops.permute(0, 2, 3, 1, 4, 5)
        features = self.backbone.embedding(crops.flatten(0, 2))
        regions: Tensor = features.unflatten(0, crops.shape[:3]).permute(0, 3, 1, 2)
        return regions

    def forward(self, batch: AnyBatch) -> Tensor:
        """One vector a row (B, D): an image's features, pooled over its regions; the mean of a bag's instances."""
        if isinstance(batch, BagBatch):
            return mean_instance(*self.instances(batch))
        embedding: Tensor = self.layers(self.pooled(self._features(batch)))
        return embedding

    def pooled(self, features: Tensor) -> Tensor:
        """One vector a row (B, F) of extracted features: as they are, or pooled over their map's places."""
        if features.ndim == 2:
            return features
        return features.amax((2, 3)) if self.pool == "max" else features.mean((2, 3))

    def instances(self, batch: AnyBatch) -> tuple[Tensor, Tensor]:
        """Instances (B, N, D) of bags, or of images' regions row by row, and the mask (B, N) of those that exist.

        Raises:
            UserError: images have no regions, see :meth:`extract_with_regions`; or precomputed features are of whole
                images.
        """
        if isinstance(batch, BagBatch):
            rows: Tensor = self.layers(batch.bag.float())
            return rows, batch.mask
        maps = batch.features.float() if isinstance(batch, FeatureBatch) else self.extract_with_regions(batch.image)[1]
        if maps.ndim == 2:
            raise UserError("precomputed features of whole images have no regions", "give it images")
        places = maps.flatten(2).transpose(1, 2)
        return self.layers(places), places.new_ones(places.shape[:2], dtype=torch.bool)

    def _features(self, batch: Batch | FeatureBatch) -> Tensor:
        return batch.features.float() if isinstance(batch, FeatureBatch) else self.extract(batch.image)


class Standardise(nn.Module):
    """Features minus their mean, divided by their deviation; unchanged until :meth:`set_moments`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def set_moments(self, mean: Tensor, deviation: Tensor) -> None:
        """Set both, (F,) each; a feature whose deviation is 0 keeps its scale."""
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.deviation


def orthogonal_rows(features: Tensor, count: int) -> Tensor:
    """Orthonormal rows (``count``, F) that begin with the principal directions of features (n, F).

    Where ``count`` is above F the columns are orthonormal instead. What the features do not determine is drawn from
    PyTorch's generator.
    """
    width = features.shape[1]
    if count >= width:
        return torch.nn.init.orthogonal_(features.new_empty(count, width))
    centred = features.double() - features.double().mean(0)
    if len(centred) > width:  # the same directions, from a matrix that does not grow with the rows
        squares, columns = torch.linalg.eigh(centred.T @ centred)
        lengths, directions = squares.flip(0).clamp(min=0).sqrt(), columns.T.flip(0)
    else:
        _, lengths, directions = torch.linalg.svd(centred, full_matrices=False)
    found = directions[: min(count, int((lengths > lengths[0] * 1e-6).sum()))]
    drawn = torch.randn(width, count - len(found), dtype=torch.float64)
    drawn = torch.linalg.qr(drawn - found.T @ (found @ drawn)).Q
    return torch.cat([found, drawn.T]).to(features.dtype)


def mean_instance(instances: Tensor, mask: Tensor) -> Tensor:
    """The mean of each bag's instances: (B, N, D) with their mask (B, N) -> (B, D)."""
    return (instances * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def autocast(images: Tensor, dtype: torch.dtype | None) -> torch.autocast:
    """The context in which a backbone computes in ``dtype``; with None it computes in float32."""
    return torch.autocast(images.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)
