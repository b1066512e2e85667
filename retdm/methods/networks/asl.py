"""ASL: the asymmetric loss in the place of binary cross-entropy."""

from typing import Annotated, Any, Literal

from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.batch import Batch
from retdm.losses import asymmetric_loss
from retdm.methods.deep import DeepMethod
from retdm.ranges import AtLeast, Between


class ASL(DeepMethod):
    """The image net and one linear layer, trained on the asymmetric loss (Ben-Baruch, Ridnik et al., ICCV 2021).

    Easy negatives count little, so probabilities come out higher than they are: a threshold other than ½ is better.

    The defaults of its numbers are those of the authors' class; their training on COCO has ``gamma_positive`` 0.

    Args:
        gamma_positive, gamma_negative: how much less cells count that are right already; 0 is no difference.
        clip_negative: negatives below this probability count nothing.
        detach: the gradient takes those weights as constants.
        reduction: ``mean`` or ``sum`` over labels.
        training: see :class:`retdm.methods.deep.DeepMethod`.
    """

    loss_names = ("classification",)

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        gamma_positive: Annotated[float, AtLeast(0)] = 1.0,
        gamma_negative: Annotated[float, AtLeast(0)] = 4.0,
        clip_negative: Annotated[float, Between(0, 1, with_high=False)] = 0.05,
        detach: bool = False,
        reduction: Literal["mean", "sum"] = "mean",
        **training: Any,
    ) -> None:
        super().__init__(backbone, labels, **training)
        self.gamma_positive, self.gamma_negative, self.clip_negative = gamma_positive, gamma_negative, clip_negative
        self.detach, self.reduction = detach, reduction

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        _, logits = self.embed_and_classify(batch)
        loss = asymmetric_loss(
            logits,
            batch.target,
            batch.known,
            gamma_positive=self.gamma_positive,
            gamma_negative=self.gamma_negative,
            clip=self.clip_negative,
            detach=self.detach,
            reduction=self.reduction,
        )
        return {"classification": loss}
