"""Multiple-instance network that pools: a bag's scores are its instances' scores, pooled."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch
from retdm.losses import gather_rows
from retdm.methods.components.heads import Pooled
from retdm.methods.components.pooling import Pooling
from retdm.methods.networks.bag_net import BagNet
from retdm.methods.stage import Stage
from retdm.ranges import Above, Between


class MIL(BagNet):
    """A linear classifier whose scores of instances are pooled, or which reads their pooled embeddings.

    Args:
        pooling, space, sharpness, top: see :class:`retdm.methods.components.heads.Pooled`.
        regions: see :class:`retdm.methods.networks.bag_net.BagNet`.
    """

    classifier: Pooled

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        pooling: Pooling = "max",
        space: Literal["scores", "embeddings"] = "scores",
        sharpness: Annotated[float, Above(0)] = 5.0,
        top: Annotated[float, Between(0, 1, with_low=False)] = 0.1,
        **regions: Any,
    ) -> None:
        self.pooling, self.space, self.sharpness, self.top = pooling, space, sharpness, top
        super().__init__(backbone, labels, **regions)

    def make_head(self) -> Pooled:
        width, labels = self.encoder.width, len(self.labels)
        return Pooled(width, labels, self.pooling, self.space, sharpness=self.sharpness, top=self.top)

    @torch.no_grad()
    def on_stage_start(self, stage: Stage, batches: Iterable[AnyBatch]) -> None:
        """Set the bias of noisy-or before the first step: n instances of probability 1/2 give a bag a probability near
        1, and its negatives would push all of them down at once."""
        if self.pooling == "noisy_or" and stage is self.stages[0]:
            _, mask = self.encoder.instances(next(iter(batches)))
            size = gather_rows(mask.sum(1)).float().mean()
            self.classifier.linear.bias.copy_(-size.log())
