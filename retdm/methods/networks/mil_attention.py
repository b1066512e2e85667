"""Multiple-instance network with a detector and a classifier."""

from typing import Any

from torch import nn

from retdm.backbones.base import Backbone
from retdm.methods.components.heads import DetectorClassifier
from retdm.methods.networks.bag_net import BagNet


class MILAttention(BagNet):
    """A detector says where to look for a label, a classifier whether it is there.

    Args:
        regions: see :class:`retdm.methods.networks.bag_net.BagNet`.
    """

    classifier: DetectorClassifier

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        **regions: Any,
    ) -> None:
        super().__init__(backbone, labels, **regions)
        self.classifier = DetectorClassifier(self.encoder.width, len(labels))

    @property
    def components(self) -> dict[str, nn.Module]:
        head = self.classifier
        return {"encoder": self.encoder, "attention": head.detector, "classifier": head.linear}
