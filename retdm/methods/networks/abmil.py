"""ABMIL: attention-based deep multiple-instance learning (Ilse, Tomczak & Welling, ICML 2018)."""

from typing import Annotated, Any

from torch import nn

from retdm.backbones.base import Backbone
from retdm.methods.components.heads import GatedAttention
from retdm.methods.networks.bag_net import BagNet
from retdm.ranges import AtLeast


class ABMIL(BagNet):
    """One attention a label over a bag's instances, and a linear classifier of their attended mean.

    Args:
        attention_dim: width of the attention's hidden layer.
        gated: with the paper's gate.
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
        self.attention_dim, self.gated = attention_dim, gated
        super().__init__(backbone, labels, **regions)

    def make_head(self) -> GatedAttention:
        return GatedAttention(self.encoder.width, len(self.labels), self.attention_dim, gated=self.gated)

    @property
    def components(self) -> dict[str, nn.Module]:
        head = self.classifier
        return {"encoder": self.encoder, "attention": head.relevance, "classifier": head.linear}
