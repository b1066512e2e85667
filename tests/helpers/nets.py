"""Networks small enough to be looked through, and backbones as a run builds them."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from retdm.backbones.base import Backbone, Transform
from retdm.runs.build import arguments_of
from retdm.settings.classes import class_of


class Normed(Backbone):
    """One convolution with BatchNorm, whose statistics follow the batches (``none``) or stay (anything else)."""

    name = "normed"
    transform = Transform(size=16)
    smallest = 4
    stages = ("1", "fc")

    def __init__(self, weights: str = "none", *, load: bool = True) -> None:
        net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        super().__init__(net, dim=8, weights=weights, load=load and weights == "none")

    def levels(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        yield "1", self.net(image)


def build_backbone(config: Mapping[str, Any], *, load: bool = True) -> Backbone:
    """The backbone of a file of ``conf/backbone``, with its weights unless ``load`` is false."""
    backbone: Backbone = class_of("backbone", config)(**arguments_of(dict(config)), load=load)
    return backbone
