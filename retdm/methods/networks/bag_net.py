"""The base of networks on bags: bags that the data gives, or images as bags of their regions."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from torch import Tensor

from retdm.backbones import NoBackbone
from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch, BagBatch, Batch
from retdm.errors import UserError
from retdm.methods.components.encoder import BAG_WIDTH, BackboneEncoder, Regions
from retdm.methods.components.heads import InstanceHead
from retdm.methods.weighted import WeightedMethod
from retdm.ranges import AtLeast


class BagNet(WeightedMethod):
    """An encoder of instances and a head that classifies bags of them, trained on binary cross-entropy.

    A subclass writes :meth:`make_head`, an :class:`retdm.methods.components.heads.InstanceHead`.

    Args:
        backbone, labels: see :class:`retdm.methods.base.Method`.
        embedding_dim: width of the layers between instances and the head; None adds none on images' regions, and is 128
            on bags that the data gives.
        instances: the instances of an image: ``cells`` of the backbone's last map, or crops of a ``grid``.
        grid: crops a side.
        training: see :class:`retdm.methods.weighted.WeightedMethod`; without ``head``.
    """

    takes: ClassVar[frozenset[type]] = frozenset({Batch, BagBatch})
    loss_names = ("classification",)

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        embedding_dim: Annotated[int, AtLeast(1)] | None = None,
        instances: Regions = "cells",
        grid: Annotated[int, AtLeast(1)] = 3,
        **training: Any,
    ) -> None:
        if "head" in training:
            raise UserError(
                f"method.head={training['head']}: this method has its own",
                "methods on whole images, such as method=bce, take one",
            )
        if embedding_dim is None and isinstance(backbone, NoBackbone):
            embedding_dim = BAG_WIDTH
        self.regions, self.grid = instances, grid
        super().__init__(backbone, labels, embedding_dim=embedding_dim, **training)

    def make_encoder(self, backbone: Backbone, width: int | None) -> BackboneEncoder:
        return BackboneEncoder(backbone, width, view=self.regions, grid=self.grid)

    def make_head(self) -> InstanceHead:
        raise NotImplementedError

    @classmethod
    def takes_mixed_targets(cls, config: Mapping[str, Any]) -> bool:
        return True

    def losses(self, batch: AnyBatch) -> dict[str, Tensor]:
        _, logits = self.embed_and_classify(batch)
        return {"classification": self.classification_loss(logits, batch)}
