"""ABMIL: attention-based deep multiple-instance learning (Ilse, Tomczak & Welling, ICML 2018)."""

from typing import Annotated, Any

from torch import nn

from retdm.backbones.base import Backbone
from retdm.methods.components.heads import GatedAttention
from retdm.methods.networks.bag_net import BagNet
from retdm.ranges import AtLeast


class ABMIL(BagNet):
    """A bag's embedding is its instances', weighted by an attention, one a label.

    Args:
        attention_dim: width of the attention's hidden layer.
        gated: False is the paper's attention without its gate.
        regions: see :class:`retdm.methods.networks.bag_net.BagNet`.
    """

    classifier: GatedAttention

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        attention_dim: Annotated[int, AtLeast(1)] = 128,
        gated: bool = True,
        **regions: Any,
    ) -> None:
        super().__init__(backbone, labels, **regions)
        self.classifier = GatedAttention(self.encoder.width, len(labels), attention_dim, gated=gated)

    @property
    def components(self) -> dict[str, nn.Module]:
        head = self.classifier
        return {"encoder": self.encoder, "attention": head.relevance, "classifier": head.linear}
