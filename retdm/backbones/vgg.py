"""VGG16 (Simonyan & Zisserman, ICLR 2015) and a small network of the same design, for training from scratch."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torchvision.models import VGG, VGG16_Weights, vgg16

from retdm.backbones.base import Backbone, Transform
from retdm.errors import UserError
from retdm.ranges import AtLeast

PUBLISHED_WIDTH = 4096  # of VGG16's second fully connected layer
CHANNELS = 512  # of its last map


class VGG16(Backbone):
    """VGG16, of which the embedding is the second fully connected layer. Any image size from 32 x 32 up.

    Args:
        weights: ``imagenet``, ``none`` or a path.
        fc: width of the second fully connected layer. 4096: the published layer, and the embedding is its output after
            ReLU and dropout. Any other, such as RETDM's 512: that layer starts at random, and the embedding is its
            output before ReLU and dropout (``projects``). ``none``: the convolutions alone, for which a file of weights
            needs no more; the embedding is the mean of the last map over its places, 512 wide.
        load: see ``Backbone``.
    """

    name = "vgg16"
    imagenet = VGG16_Weights.IMAGENET1K_V1
    last_layer = "classifier.6"
    dispensable = ("classifier", "backbone.fc=none goes without them")
    stages: tuple[str, ...] = ("1", "2", "3", "4", "5", "fc")
    net: VGG

    def __init__(
        self,
        weights: str = "imagenet",
        fc: Annotated[int, AtLeast(1)] | Literal["none"] = 512,
        *,
        load: bool = True,
    ) -> None:
        net = vgg16()
        if fc == "none":
            net.classifier = nn.Sequential()
            self.last_layer, self.stages = "classifier", self.stages[:-1]
            super().__init__(net, dim=CHANNELS, weights=weights, load=load)
            return
        net.classifier = net.classifier[:6]
        if fc != PUBLISHED_WIDTH:
            second = nn.Linear(PUBLISHED_WIDTH, fc)
            nn.init.normal_(second.weight, 0, 0.01)  # as torchvision starts VGG's fully connected layers
            nn.init.zeros_(second.bias)
            net.classifier[3] = second
        projects = fc != PUBLISHED_WIDTH
        super().__init__(
            net,
            dim=fc,
            weights=weights,
            load=load,
            projects=projects,
            random_layer="classifier.3" if projects else None,
        )

    @property
    def embeds_places(self) -> bool:
        return "fc" not in self.stages  # these layers read all places side by side

    def levels(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        return _pooling_stages(self.net.features, image)

    def embedding(self, image: Tensor) -> Tensor:
        if "fc" not in self.stages:
            return super().embedding(image)
        pooled = self.net.avgpool(self.maps(image)).flatten(1)
        layers = self.net.classifier[:4] if self.projects else self.net.classifier
        embedding: Tensor = layers(pooled)
        return embedding

    def vector(self, maps: Tensor) -> Tensor:
        """The second fully connected layer after ReLU, (B, 512, h, w) -> (B, 4096); without layers the mean."""
        if "fc" not in self.stages:
            return super().vector(maps)
        if self.projects:
            raise UserError(
                f"vgg16's stage fc is its published layer of {PUBLISHED_WIDTH}, and backbone.fc is {self.dim}",
                f"backbone.fc={PUBLISHED_WIDTH}, or choose among the stages 1, 2, 3, 4, 5",
            )
        vector: Tensor = self.net.classifier[:5](self.net.avgpool(maps).flatten(1))
        return vector


class VGGSmall(Backbone):
    """VGG's design, small enough for a first run on a laptop: a stage is 3x3 convolutions and a halving of the sides.

    GroupNorm in place of BatchNorm and no dropout, so an image's features depend on that image alone. The embedding is
    the mean and the maximum of the last map over its places, side by side: the maximum shows small objects.

    Args:
        channels: of each stage, multiples of 8.
        convs: convolutions a stage.
        weights: ``none`` or a path; there are none of ImageNet.
        load: see ``Backbone``.
    """

    name = "vgg_small"
    transform = Transform(size=64)
    net: nn.ModuleDict
    groups = 8

    def __init__(
        self,
        channels: Sequence[Annotated[int, AtLeast(8)]] = (32, 64, 128, 256),
        convs: Annotated[int, AtLeast(1)] = 1,
        weights: str = "none",
        *,
        load: bool = True,
    ) -> None:
        if not channels or any(width % self.groups for width in channels):
            raise UserError(
                f"backbone.channels={list(channels)} does not make a vgg_small",
                f"name at least one stage, each a multiple of {self.groups} channels wide",
            )
        layers: list[nn.Module] = []
        before = 3
        for width in channels:
            for _ in range(convs):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.GroupNorm(self.groups, width), nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2))
        super().__init__(
            nn.ModuleDict({"features": nn.Sequential(*layers)}), dim=2 * before, weights=weights, load=load
        )
        self.stages = (*(str(stage) for stage in range(1, len(channels) + 1)), "fc")
        self.smallest = 2 ** len(channels)

    def vector(self, maps: Tensor) -> Tensor:
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)

    def levels(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        return _pooling_stages(self.net["features"], image)


def _pooling_stages(layers: nn.Module, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield ("1", map), ("2", map) …: the output of each maximum pooling."""
    stage = 0
    for layer in layers.children():
        x = layer(x)
        if isinstance(layer, nn.MaxPool2d):
            stage += 1
            yield str(stage), x
