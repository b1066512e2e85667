"""CNN-WARP: an image's labels rank above the others, the top of the ranking first."""

from torch import Tensor

from retdm.batch import Batch
from retdm.losses import warp_loss
from retdm.methods.deep import DeepMethod


class CNNWARP(DeepMethod):
    """The image net and one linear layer, trained on the WARP loss (Gong et al., ICLR 2014).

    Scores are sigmoids of the logits. The loss compares labels of one image and knows no threshold, so the paper takes
    the highest three. What a step samples is a function of seed, step and image.
    """

    loss_names = ("classification",)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        _, logits = self.embed_and_classify(batch)
        loss = warp_loss(logits, batch.target, batch.known, index=batch.index, seed=self.loss_seed)
        return {"classification": loss}
