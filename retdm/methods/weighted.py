"""The base of networks whose classification loss is binary cross-entropy, in which positive cells may weigh more."""

from typing import Any, Literal

import torch
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch, TrainingLabels
from retdm.errors import UserError
from retdm.losses import binary_cross_entropy
from retdm.methods.components.labels import PosWeight, positive_weights
from retdm.methods.deep import DeepMethod


class WeightedMethod(DeepMethod):
    """A network with a binary cross-entropy that may weigh the positive cells of each label.

    With weights above 1 a score is no longer how probable its label is, but higher: a threshold is chosen on validation
    (``method.decide``), for one half means more predicted labels.

    Args:
        pos_weight: of each label, see :func:`retdm.methods.components.labels.positive_weights`, counted in the training
            split; or a list of one weight a label. Nothing bounds it: ``balanced`` weighs the only positive of 1,000
            images 999 times, ``sqrt`` 32 times.
        training: see :class:`retdm.methods.deep.DeepMethod`.

    Raises:
        UserError: the list has another length.
    """

    def __init__(
        self, backbone: Backbone, labels: list[str], *, pos_weight: PosWeight = "none", **training: Any
    ) -> None:
        super().__init__(backbone, labels, **training)
        if isinstance(pos_weight, list) and len(pos_weight) != len(labels):
            raise UserError(
                f"method.pos_weight lists {len(pos_weight)} weights for {len(labels)} labels",
                "one a label, in the order of the labels, or balanced or sqrt",
            )
        self.weighting: PosWeight = pos_weight

    def use_training_labels(self, labels: TrainingLabels) -> None:
        super().use_training_labels(labels)
        if self.weighting != "none":
            weights = positive_weights(self.weighting, labels.target.cpu().numpy(), labels.known.cpu().numpy())
            self.pos_weight = torch.from_numpy(weights).float().to(self.pixel_mean.device)

    def classification_loss(
        self, logits: Tensor, batch: AnyBatch, reduction: Literal["mean", "sum"] = "mean"
    ) -> Tensor:
        """The weighted binary cross-entropy () of logits (B, L), see :func:`retdm.losses.binary_cross_entropy`."""
        return binary_cross_entropy(logits, batch.target, batch.known, pos_weight=self.pos_weight, reduction=reduction)
