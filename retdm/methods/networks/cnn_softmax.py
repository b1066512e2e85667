"""CNN-Softmax: an image's labels share one distribution."""

from torch import Tensor

from retdm.batch import Batch
from retdm.losses import softmax_cross_entropy
from retdm.methods.deep import DeepMethod


class CNNSoftmax(DeepMethod):
    """The image net and one linear layer, trained on softmax cross-entropy (Gong et al., ICLR 2014).

    Scores are the softmax's probabilities, which the labels of an image share: two labels get ½ each at best. So the
    paper takes the highest three instead of a threshold.
    """

    loss_names = ("classification",)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        _, logits = self.embed_and_classify(batch)
        return {"classification": softmax_cross_entropy(logits, batch.target, batch.known)}

    def scores(self, batch: Batch) -> Tensor:
        _, logits = self.embed_and_classify(batch)
        return logits.softmax(1)
