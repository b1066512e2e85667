"""What networks for bags share: given bags, or images as the regions that their backbone sees."""

from typing import Annotated, Any, ClassVar

from torch import Tensor

from retdm.backbones import NoBackbone
from retdm.backbones.base import Backbone
from retdm.batch import BagBatch, Batch
from retdm.errors import UserError
from retdm.losses import binary_cross_entropy
from retdm.methods.components.encoder import BAG_WIDTH, BackboneEncoder, Regions, mean_instance
from retdm.methods.deep import DeepMethod
from retdm.ranges import AtLeast


class BagNet(DeepMethod):
    """An image net on instances and a head that makes a bag's logits of them, trained on binary cross-entropy.

    A subclass sets ``classifier``, a head of ``retdm.methods.components.heads`` with ``instance_logits``.

    Args:
        backbone, labels: see :class:`retdm.methods.deep.DeepMethod`.
        embedding_dim: width of the layers between instances and the head; None has none on images' regions, and 128 on
            given bags.
        instances: what an image's instances are: ``cells`` of the backbone's last map, or crops of a ``grid``.
        grid: crops a side.
        training: see :class:`retdm.methods.deep.DeepMethod`; ``head`` is the subclass's.
    """

    takes: ClassVar[frozenset[type]] = frozenset({Batch, BagBatch})
    loss_names = ("classification",)

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        embedding_dim: Annotated[int, AtLeast(1)] | None = None,
        instances: Regions = "cells",
        grid: Annotated[int, AtLeast(1)] = 3,
        **training: Any,
    ) -> None:
        if "head" in training:
            raise UserError(f"method.head={training['head']}: this method has its own", "method=bce lets choose a head")
        if embedding_dim is None and isinstance(backbone, NoBackbone):
            embedding_dim = BAG_WIDTH
        super().__init__(backbone, labels, embedding_dim=embedding_dim, **training)
        self.encoder = BackboneEncoder(backbone, embedding_dim, view=instances, grid=grid)

    def embed_and_classify(self, batch: Batch | BagBatch) -> tuple[Tensor, Tensor]:
        """Mean embeddings (B, D) of the instances, and logits (B, L)."""
        instances, mask = self.encoder.instances(batch)
        return mean_instance(instances, mask), self.classifier(instances, mask)

    def instance_scores(self, batch: Batch | BagBatch) -> Tensor:
        """What the head says of each instance (B, N, L), in [0, 1]; 0 in empty places of bags.

        Where an attention weighs given instances or crops, a score is multiplied by it: where nobody attends, the
        classifier was never asked. A cell of a map sees far beyond its place, attention may rest on any that has
        seen the thing, and the classifier alone tells its place better.
        """
        head: Any = self.classifier
        instances, mask = self.encoder.instances(batch)
        scores: Tensor = head.instance_logits(instances).sigmoid() * mask[..., None]
        if hasattr(head, "attention") and not (self.encoder.view == "cells" and not isinstance(batch, BagBatch)):
            scores = scores * head.attention(instances, mask)
        return scores

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        _, logits = self.embed_and_classify(batch)
        return {"classification": binary_cross_entropy(logits, batch.target, batch.known)}
