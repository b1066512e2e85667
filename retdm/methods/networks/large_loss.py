"""Large loss, corrected for good: unknown labels whose absence is believed least become positive, and stay so."""

from typing import Annotated, Any

import torch
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch, TrainingLabels
from retdm.losses import gather_rows
from retdm.losses.weak_labels.assume_negative import assume_negative
from retdm.losses.weak_labels.large_loss import large_cells
from retdm.methods.deep import DeepMethod
from retdm.ranges import Between


class LargeLoss(DeepMethod):
    """Large loss with permanent correction (LL-Cp, Kim et al., CVPR 2022).

    Trained by :func:`retdm.losses.weak_labels.assume_negative.assume_negative`. From the second pass on, ⌈rate · B·L⌉
    of the unknown cells of each batch, those of the largest loss, become known positives. Which ones did is in the
    checkpoint. The forms that correct or reject for a step are losses: ``method=bce method.loss=large_loss``.

    Args:
        rate: Δ, share of a batch's cells.
        training: see :class:`retdm.methods.deep.DeepMethod`.
    """

    loss_names = ("classification",)
    unknown_at_the_probe = "absent"
    estimates_probabilities = False  # scores grow with the cells that were corrected
    rows_of_checkpoint = ("corrected",)
    corrected: Tensor  # bool (N, L)

    def __init__(
        self, backbone: Backbone, labels: list[str], *, rate: Annotated[float, Between(0, 1)] = 0.002, **training: Any
    ) -> None:
        super().__init__(backbone, labels, **training)
        self.rate = rate
        self.register_buffer("corrected", torch.zeros(0, len(labels), dtype=torch.bool))
        self.found: tuple[AnyBatch, Tensor] | None = None  # cells to be corrected at the end of the step

    def use_training_labels(self, labels: TrainingLabels) -> None:
        super().use_training_labels(labels)
        if len(self.corrected) != len(labels.frequency):
            self.corrected = self.corrected.new_zeros(len(labels.frequency), len(self.labels))

    def losses(self, batch: AnyBatch) -> dict[str, Tensor]:
        _, logits = self.embed_and_classify(batch)
        if not self.training:
            return {"classification": assume_negative(logits, batch.target, batch.known)}
        corrected = self.corrected[batch.index]
        unknown = ~(batch.known | corrected)
        large = large_cells(logits, unknown, self.rate if self.stage_epoch else 0, batch.total)
        self.found = (batch, large) if self.stage_epoch else None
        positive = corrected | large
        target = torch.where(positive, 1, batch.target)
        return {"classification": assume_negative(logits, target, batch.known | positive)}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # Not at the end of the batch: a checkpoint of this step is written before that.
        super().on_before_optimizer_step(optimizer)
        if self.found is not None:
            batch, found = self.found
            index, large = (gather_rows(each, batch.total) for each in (batch.index, found))
            times = self.corrected.int().index_add_(0, index, large.int())  # rows may repeat in a batch
            self.corrected = times > 0
            self.found = None
