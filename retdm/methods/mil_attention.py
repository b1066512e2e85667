"""Multiple-instance network with a detector and a classifier."""

from typing import Any

from torch import nn

from retdm.backbones.base import Backbone
from retdm.methods.bag_net import BagNet
from retdm.methods.heads import DetectorClassifier


class MILAttention(BagNet):
    """A detector says where to look for a label, a classifier whether it is there.

    Args:
        regions: see :class:`retdm.methods.bag_net.BagNet`.
    """

    classifier: DetectorClassifier

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        **regions: Any,
    ) -> None:
        super().__init__(backbone, labels, **regions)
        self.classifier = DetectorClassifier(self.image_net.dim, len(labels))

    @property
    def parts(self) -> dict[str, nn.Module]:
        head = self.classifier
        return {"image_net": self.image_net, "attention": head.detector, "classifier": head.linear}
