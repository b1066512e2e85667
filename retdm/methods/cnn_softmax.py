"""CNN-Softmax: an image's labels share one distribution."""

from typing import Any

from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.batch import Batch
from retdm.losses import softmax_cross_entropy
from retdm.methods.base import DeepMethod


class CNNSoftmax(DeepMethod):
    """The image net and one linear layer, trained on softmax cross-entropy (Gong et al., ICLR 2014).

    Scores are the softmax's probabilities, which the labels of an image share: two labels get ½ each at best. So the
    paper takes the highest three instead of a threshold.

    Args:
        embedding_dim: width of a linear layer between the backbone and the classifier; None has none.
        training: see :class:`retdm.methods.base.DeepMethod`.
    """

    terms = ("classification",)

    def __init__(
        self, backbone: Backbone, labels: list[str], *, embedding_dim: int | None = None, **training: Any
    ) -> None:
        super().__init__(backbone, labels, width=embedding_dim, **training)
        self.check_stages()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        _, logits = self.look(batch)
        return {"classification": softmax_cross_entropy(logits, batch.target, batch.known)}

    def scores(self, batch: Batch) -> Tensor:
        _, logits = self.look(batch)
        return logits.softmax(1)
