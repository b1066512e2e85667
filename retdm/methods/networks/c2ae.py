"""C2AE: images and label sets in one latent space, from which label sets are decoded."""

from typing import Annotated, Any, Literal

from torch import Tensor, nn

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch
from retdm.losses import canonical_correlation_loss, label_ranking_loss
from retdm.methods.deep import DeepMethod
from retdm.ranges import Above, AtLeast

SLOPE = 0.1  # of the hidden layers' leaky ReLU
WIDTH = 512  # of the hidden layers


class C2AE(DeepMethod):
    """Canonical correlated autoencoder (Yeh et al., AAAI 2017), on embeddings where the paper has features.

    The networks are those of the authors' code: F_x (``image_encoder``), F_e (``label_encoder``) and F_d (``decoder``).
    The loss ``embedding`` draws F_x of an image and F_e of its label set together; ``ranking`` makes F_d(F_e(y)) rank
    the labels of y above the others, and reaches F_d and F_e alone. Scores are F_d(F_x(x)). They are trained to rank,
    so their threshold is chosen on the validation split.

    F_e reads 1 and -1, and 0 where a label is unknown; the original's 1 and 0 are an affine map of that, where all are
    known. The authors train by RMSprop with a momentum of 0.99; here the optimizer is that of every method.

    Args:
        latent: width of the latent space, as a share of the number of labels (0.8 in the paper).
        orthonormality: weight of that term within the loss ``embedding`` (½ in the authors' code).
        rows: the batch size that the loss ``embedding`` is scaled to, see
            :func:`retdm.losses.canonical_correlation_loss`. The scale of the latent space follows from it: values are
            about 1 / sqrt(rows). The authors' code has 500, where SGD is less stable.
        steepness: factor of the differences in the ranking loss (5 in the authors' code).
        head: how an image's regions are pooled.
        training: see :class:`retdm.methods.deep.DeepMethod`.
    """

    loss_names = ("embedding", "ranking")
    estimates_probabilities = False  # scores rank the labels
    classifier: "LatentSpace"

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        latent: Annotated[float, Above(0)] = 0.8,
        orthonormality: Annotated[float, AtLeast(0)] = 0.5,
        rows: Annotated[int, AtLeast(1)] = 16,
        steepness: Annotated[float, Above(0)] = 5.0,
        head: Literal["average", "max"] = "average",
        **training: Any,
    ) -> None:
        self.latent = max(1, round(latent * len(labels)))
        self.orthonormality, self.rows, self.steepness = orthonormality, rows, steepness
        super().__init__(backbone, labels, head=head, **training)

    def make_head(self) -> "LatentSpace":
        return LatentSpace(self.encoder.width, len(self.labels), self.latent)

    @property
    def components(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, **dict(self.classifier.named_children())}

    def losses(self, batch: AnyBatch) -> dict[str, Tensor]:
        image = self.classifier.image_encoder(self.encoder(batch))
        label = self.classifier.label_encoder((2 * batch.target - 1) * batch.known)
        return {
            "embedding": canonical_correlation_loss(
                image, label, weight=self.orthonormality, rows=self.rows, total=batch.total
            ),
            "ranking": label_ranking_loss(
                self.classifier.decoder(label), batch.target, batch.known, steepness=self.steepness
            ),
        }

    def scores(self, batch: AnyBatch) -> Tensor:
        found: Tensor = self.classifier.decoder(self.classifier.image_encoder(self.encoder(batch)))
        return found


class LatentSpace(nn.Module):
    """The ways into a latent space (B, K) and out of it.

    Args:
        dim: width of an image's embedding.
        labels: L.
        latent: K.
    """

    def __init__(self, dim: int, labels: int, latent: int) -> None:
        super().__init__()
        self.image_encoder = nn.Sequential(*_layers(dim, WIDTH, WIDTH, latent), Centred())
        self.label_encoder = nn.Sequential(*_layers(labels, WIDTH, latent), Centred())
        self.decoder = nn.Sequential(*_layers(latent, WIDTH, labels), nn.Sigmoid())


class Centred(nn.Module):
    """σ(x) - ½"""

    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid() - 0.5


def _layers(*widths: int) -> list[nn.Module]:
    """Linear layers from each width to the next, with a leaky ReLU between them."""
    layers: list[nn.Module] = []
    for i in range(len(widths) - 1):
        layers += [nn.LeakyReLU(SLOPE)] * (i > 0) + [nn.Linear(widths[i], widths[i + 1])]
    return layers
