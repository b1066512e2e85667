"""Multiple-instance network with a detector and a classifier."""

from torch import nn

from retdm.methods.components.heads import DetectorClassifier
from retdm.methods.networks.bag_net import BagNet


class MILAttention(BagNet):
    """A classifier of instances whose probabilities are weighted by a detector.

    Args: see :class:`retdm.methods.networks.bag_net.BagNet`.
    """

    classifier: DetectorClassifier

    def make_head(self) -> DetectorClassifier:
        return DetectorClassifier(self.encoder.width, len(self.labels))

    @property
    def components(self) -> dict[str, nn.Module]:
        head = self.classifier
        return {"encoder": self.encoder, "attention": head.detector, "classifier": head.linear}
