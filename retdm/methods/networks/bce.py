"""Binary cross-entropy on a linear classifier: every label on its own."""

from typing import Any, Literal

from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.batch import Batch
from retdm.losses import binary_cross_entropy
from retdm.methods.deep import DeepMethod


class BCE(DeepMethod):
    """The image net and one linear layer, trained on binary cross-entropy (the BCE rows of Li et al., TNNLS 2020).

    Args:
        reduction: ``mean`` or ``sum`` over labels.
        training: see :class:`retdm.methods.deep.DeepMethod`.
    """

    loss_names = ("classification",)

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        reduction: Literal["mean", "sum"] = "mean",
        **training: Any,
    ) -> None:
        super().__init__(backbone, labels, **training)
        self.reduction = reduction

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        _, logits = self.embed_and_classify(batch)
        loss = binary_cross_entropy(logits, batch.target, batch.known, reduction=self.reduction)
        return {"classification": loss}
