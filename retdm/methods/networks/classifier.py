"""Methods that are only a loss: an encoder and a head, trained on a loss of the logits."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch, TrainingLabels
from retdm.errors import UserError
from retdm.methods.components.chosen_loss import Choice, ChosenLoss
from retdm.methods.weighted import WeightedMethod


class Classifier(WeightedMethod):
    """An encoder and a head, trained on one loss: BCE, ASL, CNN-Softmax, CNN-WARP or any other.

    Args:
        loss: a loss of ``retdm.losses`` by its name, or a mapping of ``name`` and its own settings; see
            :class:`retdm.methods.components.chosen_loss.ChosenLoss`.
        activation: turns logits into scores. With ``softmax`` the labels of an image share one distribution: two labels
            get ½ each at best.
        training: see :class:`retdm.methods.weighted.WeightedMethod`; ``pos_weight`` is for binary cross-entropy.

    Raises:
        UserError: there is no such loss, or it takes no ``pos_weight``.
    """

    loss_names = ("classification",)
    positives: Tensor  # int64 (L,), images of the training split that have each label
    negatives: Tensor  # int64 (L,), those that are known not to have it

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        loss: Choice = "binary_cross_entropy",
        activation: Literal["sigmoid", "softmax"] = "sigmoid",
        **training: Any,
    ) -> None:
        super().__init__(backbone, labels, **training)
        self.loss, self.activation = ChosenLoss(loss), activation
        self.loss.check(len(labels))
        if self.weighting != "none" and "pos_weight" not in self.loss.takes:
            raise UserError(
                f"method.pos_weight={self.weighting} has no use with method.loss={self.loss.name}",
                "method.loss=binary_cross_entropy, or method.pos_weight=none",
            )
        for name in ("positives", "negatives"):
            self.register_buffer(name, torch.zeros(len(labels), dtype=torch.int64), persistent=False)
        self.rows = 0  # of the training split
        self.unknown_at_the_probe = self.loss.unknown_at_the_probe
        # Other losses rank labels, or move probabilities away from the frequencies.
        self.estimates_probabilities = self.loss.name == "binary_cross_entropy" and activation == "sigmoid"

    @classmethod
    def takes_mixed_targets(cls, config: Mapping[str, Any]) -> bool:
        return ChosenLoss(config.get("loss", "binary_cross_entropy")).takes_mixed_targets

    @classmethod
    def nested_settings(cls, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        return {"loss": ChosenLoss(config["loss"]).kinds()} if "loss" in config else {}

    def use_training_labels(self, labels: TrainingLabels) -> None:
        super().use_training_labels(labels)
        self.rows = len(labels.target)
        self.positives, self.negatives = (count.to(self.positives.device) for count in labels.counts)

    def losses(self, batch: AnyBatch) -> dict[str, Tensor]:
        _, logits = self.embed_and_classify(batch)
        given = {
            "index": batch.index,
            "seed": self.loss_seed,
            "positives": self.positives,
            "negatives": self.negatives,
            "rows": self.rows,
            "pos_weight": self.pos_weight,
            "epoch": self.stage_epoch if self.training else 0,
            "total": batch.total,
        }
        return {"classification": self.loss(logits, batch, given)}

    def scores_from(self, embedding: Tensor, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.activation == "sigmoid" else logits.softmax(1)
