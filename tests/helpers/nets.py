"""Networks small enough to be looked through."""

from collections.abc import Iterator

from torch import Tensor, nn

from retdm.backbones.base import Backbone, Transform


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
