"""C2AE: images and label sets meet in a latent space, from which label sets are decoded."""

from typing import Annotated, Any

from torch import Tensor, nn

from retdm.backbones.base import Backbone
from retdm.batch import Batch
from retdm.losses import canonical_correlation_loss, label_ranking_loss
from retdm.methods.components.heads import check_pooled
from retdm.methods.deep import DeepMethod
from retdm.ranges import Above, AtLeast

SLOPE = 0.1  # of the hidden layers' leaky ReLU
WIDTH = 512  # of the hidden layers


class C2AE(DeepMethod):
    """Canonical correlated autoencoder (Yeh et al., AAAI 2017), on the image net's embedding in the place of features.

    Nets as in the authors' code: F_x (``image_encoder``), F_e (``label_encoder``) and F_d (``decoder``). The loss
    ``embedding`` brings F_x of an image and F_e of its label set together, ``ranking`` lets F_d(F_e(y)) put labels of y
    above the others: it reaches F_d and F_e alone. Scores are F_d(F_x(x)); they are made to rank, so the threshold is
    to be chosen on validation.

    F_e reads 1 and -1, and 0 where a label is unknown; the original's 1 and 0 are an affine map of that, where all is
    known. Training differs: SGD as of every method here, not the authors' RMSprop with a momentum of 0.99.

    Args:
        latent: K as a share of the number of labels (0.8 in the paper).
        orthonormality: weight within the loss ``embedding`` (½ in the authors' code).
        rows: what a batch counts as there, see :func:`retdm.losses.canonical_correlation_loss`; the scale of the
            latent space follows from it: a unit has about 1 / sqrt(rows). The authors' code has 500, where SGD is
            less stable.
        steepness: of the ranking loss (5 in the authors' code).
        training: see :class:`retdm.methods.deep.DeepMethod`; ``head`` is ``average`` or ``max``.
    """

    loss_names = ("embedding", "ranking")

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        latent: Annotated[float, Above(0)] = 0.8,
        orthonormality: Annotated[float, AtLeast(0)] = 0.5,
        rows: Annotated[int, AtLeast(1)] = 16,
        steepness: Annotated[float, Above(0)] = 5.0,
        **training: Any,
    ) -> None:
        check_pooled(training.get("head", "average"))
        super().__init__(backbone, labels, **training)
        self.classifier = nn.Identity()  # the decoder gives the scores
        self.orthonormality, self.rows, self.steepness = orthonormality, rows, steepness
        width = max(1, round(latent * len(labels)))
        self.image_encoder = nn.Sequential(*_layers(self.encoder.width, WIDTH, WIDTH, width), Centred())
        self.label_encoder = nn.Sequential(*_layers(len(labels), WIDTH, width), Centred())
        self.decoder = nn.Sequential(*_layers(width, WIDTH, len(labels)), nn.Sigmoid())

    @property
    def components(self) -> dict[str, nn.Module]:
        return {
            "encoder": self.encoder,
            "image_encoder": self.image_encoder,
            "label_encoder": self.label_encoder,
            "decoder": self.decoder,
        }

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        image = self.image_encoder(self.encoder(batch))
        label = self.label_encoder((2 * batch.target - 1) * batch.known)
        return {
            "embedding": canonical_correlation_loss(image, label, weight=self.orthonormality, rows=self.rows),
            "ranking": label_ranking_loss(self.decoder(label), batch.target, batch.known, steepness=self.steepness),
        }

    def scores(self, batch: Batch) -> Tensor:
        found: Tensor = self.decoder(self.image_encoder(self.encoder(batch)))
        return found


class Centred(nn.Module):
    """σ(x) - ½, the latent space's."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid() - 0.5


def _layers(*widths: int) -> list[nn.Module]:
    """Linear layers between the widths, a leaky ReLU between each two."""
    layers: list[nn.Module] = []
    for i in range(len(widths) - 1):
        layers += [nn.LeakyReLU(SLOPE)] * (i > 0) + [nn.Linear(widths[i], widths[i + 1])]
    return layers
