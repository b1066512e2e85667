"""DenseNet-169 (Huang et al., CVPR 2017)."""

import re
from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import DenseNet, DenseNet169_Weights, densenet169

from retdm.backbones.base import Backbone, BatchNormMode

# norm.1.weight in torchvision's own file is norm1.weight in its network: module names may no longer contain a dot.
OLD_NAME = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)")


class DenseNet169(Backbone):
    """DenseNet-169 without its last layer; the embedding is the mean of the last map over its places (1,664).

    Args:
        weights: ``imagenet``, ``none`` or a path.
        batchnorm, load: see ``Backbone``.
    """

    name = "densenet169"
    imagenet = DenseNet169_Weights.IMAGENET1K_V1
    last_layer = "classifier"
    stages = ("relu0", "denseblock1", "denseblock2", "denseblock3", "norm5", "fc")
    net: DenseNet

    def __init__(self, weights: str = "imagenet", *, batchnorm: BatchNormMode = None, load: bool = True) -> None:
        net = densenet169()
        dim = net.classifier.in_features
        net.classifier = nn.Identity()
        super().__init__(net, dim=dim, weights=weights, batchnorm=batchnorm, load=load)

    def levels(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        x = image
        for name, layer in self.net.features.named_children():
            x = layer(x)
            if name == "norm5":  # its ReLU is not among torchvision's layers
                x = F.relu(x)
            if name in self.stages:
                yield name, x

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {OLD_NAME.sub(r"\1\2", name): tensor for name, tensor in state.items()}
