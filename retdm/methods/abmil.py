"""ABMIL: attention-based deep multiple-instance learning (Ilse, Tomczak & Welling, ICML 2018)."""

from typing import Any

from torch import nn

from retdm.backbones.base import Backbone
from retdm.methods.bag_net import BagNet
from retdm.methods.heads import GatedAttention


class ABMIL(BagNet):
    """A bag's embedding is its instances', weighted by an attention, one a label.

    Args:
        attention_dim: width of the attention's hidden layer.
        gated: False is the paper's attention without its gate.
        regions: see :class:`retdm.methods.bag_net.BagNet`.
    """

    classifier: GatedAttention

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        attention_dim: int = 128,
        gated: bool = True,
        **regions: Any,
    ) -> None:
        super().__init__(backbone, labels, **regions)
        self.classifier = GatedAttention(self.image_net.dim, len(labels), attention_dim, gated=gated)

    @property
    def parts(self) -> dict[str, nn.Module]:
        head = self.classifier
        return {"image_net": self.image_net, "attention": head.relevance, "classifier": head.linear}
