"""Methods that are only a loss: an encoder and a head, trained on a loss of the logits."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch
from retdm.methods.components.chosen_loss import Choice, ChosenLoss
from retdm.methods.deep import DeepMethod


class Classifier(DeepMethod):
    """An encoder and a head, trained on one loss: BCE, ASL, CNN-Softmax, CNN-WARP or any other.

    Args:
        loss: a loss of ``retdm.losses`` by its name, or a mapping of ``name`` and its own settings; see
            :class:`retdm.methods.components.chosen_loss.ChosenLoss`.
        activation: turns logits into scores. With ``softmax`` the labels of an image share one distribution: two labels
            get ½ each at best.
        training: see :class:`retdm.methods.deep.DeepMethod`.
    """

    loss_names = ("classification",)

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
        # Other losses rank labels, or move probabilities away from the frequencies.
        self.estimates_probabilities = self.loss.name == "binary_cross_entropy" and activation == "sigmoid"

    @classmethod
    def takes_mixed_targets(cls, config: Mapping[str, Any]) -> bool:
        return ChosenLoss(config.get("loss", "binary_cross_entropy")).takes_mixed_targets

    @classmethod
    def nested_settings(cls, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        return {"loss": ChosenLoss(config["loss"]).kinds()} if "loss" in config else {}

    def losses(self, batch: AnyBatch) -> dict[str, Tensor]:
        _, logits = self.embed_and_classify(batch)
        return {"classification": self.loss(logits, batch, self.loss_seed)}

    def scores_from(self, embedding: Tensor, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.activation == "sigmoid" else logits.softmax(1)
