"""Multiple-instance networks that pool: a label is in a bag as its instances say."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch

from retdm.backbones.base import Backbone
from retdm.batch import Batch
from retdm.losses import gather_rows
from retdm.methods.components.heads import Pooled
from retdm.methods.components.pooling import Pooling
from retdm.methods.networks.bag_net import BagNet
from retdm.methods.stage import Stage
from retdm.ranges import Above, Between


class MIL(BagNet):
    """Scores of instances, or their embeddings, pooled.

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
        super().__init__(backbone, labels, **regions)
        self.classifier = Pooled(self.encoder.width, len(labels), pooling, space, sharpness=sharpness, top=top)

    @torch.no_grad()
    def measure(self, stage: Stage, images: Iterable[Batch]) -> None:
        """Set the bias of noisy-or before the first step: where n instances are unsure, a bag of them is all but sure,
        and its negatives would push everything down at once."""
        if self.classifier.pooling == "noisy_or" and stage is self.stages[0]:
            _, mask = self.encoder.instances(next(iter(images)))
            size = gather_rows(mask.sum(1)).float().mean()
            self.classifier.linear.bias.copy_(-size.log())
