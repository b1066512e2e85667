"""Center loss beside binary cross-entropy: embeddings are drawn to the centres of their labels."""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch
from retdm.losses import center_loss, moved_centers
from retdm.methods.weighted import WeightedMethod
from retdm.ranges import AtLeast, Between


class Center(WeightedMethod):
    """Binary cross-entropy and center loss on one embedding (Wen et al., ECCV 2016; the CL rows of Li et al., 2020).

    RETDM's paper does not say how images with several labels are treated; see :func:`retdm.losses.center_loss`. The
    centres start at 0 and are in the checkpoint. They get no gradient: at each training step they move by their own
    rule, :func:`retdm.losses.moved_centers`.

    Args:
        embedding_dim: D, width of the embedding.
        center_rate: how far a step moves the centres, from 0 to 1 (½ in the paper).
        reduction: ``mean`` or ``sum`` of the classification loss over labels.
        training: see :class:`retdm.methods.weighted.WeightedMethod`.
    """

    loss_names = ("classification", "center")
    centers: Tensor

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        embedding_dim: Annotated[int, AtLeast(1)] | None = 512,
        center_rate: Annotated[float, Between(0, 1)] = 0.5,
        reduction: Literal["mean", "sum"] = "mean",
        **training: Any,
    ) -> None:
        super().__init__(backbone, labels, embedding_dim=embedding_dim, **training)
        self.center_rate, self.reduction = center_rate, reduction
        self.register_buffer("centers", torch.zeros(len(labels), self.encoder.width))
        self.last_step: tuple[Tensor, AnyBatch] | None = None  # by which the centres move at the end of the step

    def losses(self, batch: AnyBatch) -> dict[str, Tensor]:
        embedding, logits = self.embed_and_classify(batch)
        if self.training:
            self.last_step = (embedding.detach(), batch)
        return {
            "classification": self.classification_loss(logits, batch, self.reduction),
            "center": center_loss(embedding, batch.target, batch.known, self.centers),
        }

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # Not at the end of the batch: a checkpoint of this step is written before that.
        super().on_before_optimizer_step(optimizer)
        if "center" in self.active and self.last_step is not None:
            embedding, batch = self.last_step
            self.centers.copy_(
                moved_centers(self.centers, embedding, batch.target, batch.known, self.center_rate, batch.total)
            )
            self.last_step = None
