"""Multiple-instance network with a detector and a classifier."""

from typing import Any

from retdm.backbones.base import Backbone
from retdm.methods.bag_net import BagNet, Regions
from retdm.methods.heads import DetectorClassifier


class MILAttention(BagNet):
    """A detector says where to look for a label, a classifier whether it is there.

    Args:
        instances, grid, embedding_dim: see :class:`retdm.methods.bag_net.BagNet`.
        training: see :class:`retdm.methods.base.DeepMethod`.
    """

    classifier: DetectorClassifier

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        instances: Regions = "cells",
        grid: int = 3,
        embedding_dim: int | None = None,
        **training: Any,
    ) -> None:
        super().__init__(backbone, labels, embedding_dim=embedding_dim, instances=instances, grid=grid, **training)
        self.classifier = DetectorClassifier(self.image_net.dim, len(labels))
