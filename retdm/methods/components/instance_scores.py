"""Scores of instances (an image's regions, a bag's rows) by the encoder and the head of a network. Notation: B rows, N
instances of a row, D features, L labels."""

from collections.abc import Callable

from torch import Tensor, nn

from retdm.batch import AnyBatch, BagBatch
from retdm.errors import UserError
from retdm.methods.components.encoder import BackboneEncoder
from retdm.methods.components.heads import InstanceHead


def scores_instances(encoder: BackboneEncoder, head: nn.Module) -> bool:
    """True where :func:`instance_scores` works, of images or of bags."""
    return isinstance(head, nn.Linear | InstanceHead) and encoder.has_instances


def instance_scores(
    encoder: BackboneEncoder, head: nn.Module, batch: AnyBatch, scores_from: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Scores of each instance by itself (B, N, L), in [0, 1]; 0 in empty places of bags.

    An instance has the score of an image, or a bag, in which there is nothing else. Behind the mean of an image's
    places and linear layers these are class activation maps (Zhou et al., CVPR 2016): the mean of the places' logits
    is the image's logit. A maximum takes each feature of an image from another place; a place's logit has all of its
    own. ML-Decoder reads one place after the other, and what its queries attend to elsewhere plays no part.

    Where an attention weighs given instances or crops, a score is multiplied by it: where nothing attends, the
    classifier was never trained. A cell of a feature map covers far more than its place, attention may rest on any
    cell that covers the object, and the classifier alone locates it better.

    Args:
        encoder: gives the instances (B, N, D).
        head: a linear layer, or an instance head.
        batch: images, maps of regions or bags.
        scores_from: see :meth:`retdm.methods.deep.DeepMethod.scores_from`.

    Raises:
        UserError: the head or the backbone's embedding knows no instances, or the batch has none.
    """
    if not isinstance(head, nn.Linear | InstanceHead):
        raise UserError("this method's head classifies whole images and gives no scores of regions", "method=bce does")
    instances, mask = encoder.instances(batch)
    logits: Tensor = head.instance_logits(instances) if isinstance(head, InstanceHead) else head(instances)
    scores = scores_from(instances.flatten(0, 1), logits.flatten(0, 1)).view_as(logits) * mask[..., None]
    apart = encoder.view == "grid" or isinstance(batch, BagBatch)
    if apart and isinstance(head, InstanceHead) and head.attends:
        return scores * head.attention_weights(instances, mask)
    return scores
