"""CNN-WARP: an image's labels rank above the others, the top of the ranking first."""

from typing import Any

from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.batch import Batch
from retdm.losses import warp_loss
from retdm.methods.base import DeepMethod, draw_seed


class CNNWARP(DeepMethod):
    """The image net and one linear layer, trained on the WARP loss (Gong et al., ICLR 2014).

    Scores are sigmoids of the logits. The loss compares labels of one image and knows no threshold, so the paper takes
    the highest three. What a step samples is a function of seed, step and image.

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
        # Validation samples the same at every epoch, or its loss would change where the weights do not.
        seed = draw_seed(self.seed, self.global_step) if self.training else self.seed
        return {"classification": warp_loss(logits, batch.target, batch.known, index=batch.index, seed=seed)}
