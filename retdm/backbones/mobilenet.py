"""MobileNetV2 (Sandler et al., CVPR 2018)."""

from collections.abc import Iterator

from torch import Tensor, nn
from torchvision import models

from retdm.backbones.base import Backbone, BatchNormMode


class MobileNetV2(Backbone):
    """MobileNetV2 without its last layer; the embedding is the mean of the last map over its places (1,280).

    Its stages are blocks of ``features``, by number: the last before each halving of the sides, and the last of all.

    Args:
        weights: ``imagenet`` (torchvision's first version, trained as in the paper), ``none`` or a path.
        batchnorm, load: see ``Backbone``.
    """

    name = "mobilenet_v2"
    imagenet = models.MobileNet_V2_Weights.IMAGENET1K_V1
    last_layer = "classifier.1"
    stages = ("1", "3", "6", "13", "17", "fc")
    net: models.MobileNetV2

    def __init__(self, weights: str = "imagenet", *, batchnorm: BatchNormMode = None, load: bool = True) -> None:
        net = models.mobilenet_v2()
        dim = net.last_channel
        net.classifier = nn.Identity()  # dropout and the last layer
        super().__init__(net, dim=dim, weights=weights, batchnorm=batchnorm, load=load)

    def levels(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        x = image
        for number, block in enumerate(self.net.features):
            x = block(x)
            yield str(number), x
