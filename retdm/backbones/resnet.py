"""ResNet-50 (He et al., CVPR 2016)."""

from collections.abc import Iterator

from torch import Tensor, nn
from torchvision.models import ResNet, ResNet50_Weights, resnet50

from retdm.backbones.base import Backbone, BatchNormMode


class ResNet50(Backbone):
    """ResNet-50 without its last layer; the embedding is the mean of the last map over its places (2,048).

    Args:
        weights: ``imagenet`` (torchvision's first version, trained as in the paper), ``none`` or a path.
        batchnorm, load: see ``Backbone``.
    """

    name = "resnet50"
    imagenet = ResNet50_Weights.IMAGENET1K_V1
    last_layer = "fc"
    stages = ("relu", "layer1", "layer2", "layer3", "layer4", "fc")
    net: ResNet

    def __init__(self, weights: str = "imagenet", *, batchnorm: BatchNormMode = None, load: bool = True) -> None:
        net = resnet50()
        dim = net.fc.in_features
        net.fc = nn.Identity()
        super().__init__(net, dim=dim, weights=weights, batchnorm=batchnorm, load=load)

    def levels(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        x = self.net.relu(self.net.bn1(self.net.conv1(image)))
        yield "relu", x
        x = self.net.maxpool(x)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            x = self.net.get_submodule(name)(x)
            yield name, x
