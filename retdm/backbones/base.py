"""The interface of every backbone. Notation: B batch, H and W the image's sides, C channels, F features."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from retdm.backbones.folding import fold_batchnorm
from retdm.backbones.places import each_place
from retdm.backbones.weights import WeightsReport, imagenet_name, load_weights
from retdm.errors import UserError

BatchNormMode = Literal["frozen", "trained"] | None


@dataclass(frozen=True)
class Transform:
    """Preparation of images, which belongs to a backbone's weights.

    Attributes:
        size: side in pixels of the squares that the weights were trained on.
        mean, std: of RGB in [0, 1].
        interpolation: by which images are resized, in Pillow's words: ``bilinear``, ``bicubic``.
        crop: share of each side around the centre that is shown, above 0; 1 is the whole image.
    """

    size: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)  # of ImageNet
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    crop: float = 1.0

    def __post_init__(self) -> None:
        # YAML, JSON and checkpoints give lists, which would make equal transforms unequal.
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; ``Transform(**transform.as_dict()) == transform``. A whole image names no crop."""
        plain = asdict(self) | {"mean": list(self.mean), "std": list(self.std)}
        if self.crop == 1:
            del plain["crop"]
        return plain


class Backbone(nn.Module, ABC):
    """A network that turns images into features. A family's class builds ``net``, names its stages and runs them.

    Images are float (B, 3, H, W), normalised by ``transform``, H and W at least ``smallest``.

    Args:
        net: the architecture with torchvision's parameter names, its classification layer removed.
        dim: width of ``embedding``.
        weights: ``imagenet``, ``none``, the path of a file or of a run folder (see ``load_weights``).
        batchnorm: ``trained``: BatchNorm's running statistics follow the batches; ``frozen``: they stay as loaded, and
            only its scale and shift are trained. None is trained where ``weights`` is none, else frozen.
        load: False leaves ``net`` as it is for a checkpoint to fill; ``report`` is None then.
        projects: see below.
        random_layer: a layer of ``net`` that starts at random unless the file has one of the same shape.

    Attributes:
        stages: names of the levels of ``multilevel``, in the network's order; ``fc`` is the vector at the end.
        projects: ``embedding`` is already a linear, signed output; False: features after a ReLU (pooled, but for
            VGG16's fully connected layer), to which a method adds a linear layer of its own.
        batchnorm: as above; ``frozen`` where there is none.
        report: which tensors were loaded and which were not.
        frozen: it is not trained and stays in evaluation mode; see ``freeze``.
    """

    name: ClassVar[str]
    names: ClassVar[str] = "torchvision's"  # whose names the tensors of ``net`` bear
    imagenet: ClassVar[WeightsEnum | None] = None  # torchvision's entry of the weights trained on ImageNet
    last_layer: str | tuple[str, ...] | None = None  # the removed classification layer, or layers, by the names of net
    # Layers that a file of weights may lack, and the setting that goes without them.
    dispensable: ClassVar[tuple[str, str] | None] = None
    transform: Transform = Transform()
    stages: tuple[str, ...]
    smallest: int = 32

    def __init__(
        self,
        net: nn.Module,
        *,
        dim: int,
        weights: str,
        load: bool,
        batchnorm: BatchNormMode = None,
        projects: bool = False,
        random_layer: str | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.dim = dim
        self.projects = projects
        self.random_layer = random_layer
        moves = batchnorm == "trained" or (batchnorm is None and weights == "none")
        has_one = any(map(_is_batchnorm, net.modules()))
        self.batchnorm: Literal["frozen", "trained"] = "trained" if moves and has_one else "frozen"
        self.frozen = False
        self.report: WeightsReport | None = load_weights(self, weights) if load else None
        if self.batchnorm == "frozen":
            fold_batchnorm(net)
        self.train()

    @abstractmethod
    def levels(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, map (B, C, h, w)) of each stage but ``fc``, in order; the last feature map comes last."""

    def vector(self, maps: Tensor) -> Tensor:
        """Compute the stage ``fc`` from the last feature map: its mean over places. (B, C, h, w) -> (B, C)"""
        return maps.mean((2, 3))

    @classmethod
    def imagenet_name(cls, config: Mapping[str, Any]) -> str:
        """Identify the content of the ImageNet weights for these settings; nothing is downloaded."""
        return imagenet_name(cls)

    @classmethod
    def transform_of(cls, config: Mapping[str, Any]) -> Transform:
        """The preparation of images for these settings, known before the network is built."""
        return cls.transform

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Translate the tensors of a file, which may bear other names, to those of ``net``."""
        return state

    def freeze(self) -> Self:
        """Stop its training: no gradients, evaluation mode from now on."""
        self.frozen = True
        return self.requires_grad_(False).eval()

    @property
    def channels(self) -> int:
        """The number of channels C of ``maps``."""
        with evaluating(self):  # a blank image must not enter BatchNorm's statistics
            return self.maps(next(self.parameters()).new_zeros(1, 3, self.smallest, self.smallest)).shape[1]

    def maps(self, image: Tensor) -> Tensor:
        """Compute the last feature map. (B, 3, H, W) -> (B, C, h, w)"""
        self._check_size(image)
        for _, last in self.levels(image):
            pass
        return last

    def embedding(self, image: Tensor) -> Tensor:
        """Compute the embedding. (B, 3, H, W) -> (B, dim)"""
        return self.vector(self.maps(image))

    @property
    def embeds_places(self) -> bool:
        """True where ``embedding_and_places`` works: the embedding pools the places of the last map."""
        return True

    def embedding_and_places(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the embedding (B, dim), and those that the last map's places make by themselves (B, dim, h, w), whose
        mean it is where it is the map's."""
        maps = self.maps(image)
        return self.vector(maps), each_place(maps, self.vector)

    def forward(self, image: Tensor) -> Tensor:
        """Same as ``embedding``."""
        return self.embedding(image)

    def multilevel(self, image: Tensor, stages: Sequence[str | int] | None = None) -> Tensor:
        """Concatenate features of several depths: each stage's maximum over the four quadrants, and the vector ``fc``.

        Args:
            image, stages: of (B, 3, H, W) some of ``self.stages``, None for all; always in the network's order.

        Returns:
            (B, F): of a stage with C channels 4 C numbers (by channel, then top left, top right, bottom left, bottom
            right; the quadrants share the middle row or column of an odd side), and of ``fc`` its width.

        Raises:
            UserError: a stage that this network does not have, or none at all.
        """
        self._check_size(image)
        wanted = self._chosen(stages)
        features = []
        for name, level in self.levels(image):
            if name in wanted:
                features.append(_quadrants(level))
                wanted.discard(name)
            if not wanted:  # the rest of the network need not run
                break
        if "fc" in wanted:
            features.append(self.vector(level))
        return torch.cat(features, 1)

    def depths(self) -> dict[str, int]:
        """How far from the head each parameter stands, by its name: 1 for the last of the network, one more for each
        stage before it. A parameter belongs to the first stage whose map it changes; those that change no map, such as
        fully connected layers, are the last."""
        side, some = self.smallest, next(self.parameters())
        parameters: dict[Tensor, str] = {parameter: name for name, parameter in self.named_parameters()}
        trained = [parameter.requires_grad for parameter in parameters]
        mode = self.training
        self.eval().requires_grad_()
        try:
            with torch.enable_grad():
                maps = list(self._bare_levels(some.new_zeros(1, 3, side, side)))
            known: set[Any] = set()
            places = [[parameters.pop(leaf) for leaf in _leaves(level, known)] for level in maps]
        finally:
            self.train(mode)
            for parameter, requires_grad in zip(self.parameters(), trained, strict=True):
                parameter.requires_grad_(requires_grad)
        places = [names for names in (*places, list(parameters.values())) if names]
        return {name: depth for depth, names in enumerate(reversed(places), 1) for name in names}

    def _bare_levels(self, image: Tensor) -> Iterator[Tensor]:
        """The maps of ``stages``, each a function of the parameters up to its own stage alone."""
        return (level for name, level in self.levels(image) if name in self.stages)

    def train(self, mode: bool = True) -> Self:
        super().train(mode and not self.frozen)
        if self.batchnorm == "frozen":
            for module in self.modules():
                if _is_batchnorm(module):
                    module.eval()
        return self

    def _chosen(self, stages: Sequence[str | int] | None) -> set[str]:
        wanted = set(self.stages if stages is None else map(str, stages))
        if unknown := sorted(wanted - set(self.stages)):
            raise UserError(f"{self.name} has no stage {', '.join(unknown)}", f"its stages: {', '.join(self.stages)}")
        if not wanted:
            raise UserError(f"no stage of {self.name} is chosen", f"its stages: {', '.join(self.stages)}")
        return wanted

    def check_side(self, side: int) -> None:
        """Raise ``UserError`` where the network cannot take square images of this side."""
        self._check_size(torch.empty(1, 3, side, side, device="meta"))

    def _check_size(self, image: Tensor) -> None:
        height, width = image.shape[-2:]
        if min(height, width) < self.smallest:
            raise UserError(
                f"images of {height} x {width} are too small for {self.name}",
                f"data.image_size={self.smallest} or more",
            )


class NoBackbone(Backbone):
    """Stands for a backbone where the data gives instances of ``dim`` features instead of images."""

    name = "none"
    stages = ()

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Identity(), dim=dim, weights="none", load=False)
        self.freeze()

    @property
    def channels(self) -> int:
        return self.dim

    def levels(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        raise UserError("this method was trained on bags of instances and was given images", "give it instances")


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode without gradients for a block, and back into its own mode afterwards."""
    training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        module.train(training)


def _quadrants(level: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, 4 C), as ``adaptive_max_pool2d(level, 2)``, which cannot be exported."""
    height, width = level.shape[-2:]
    tops = (slice(0, -(-height // 2)), slice(height // 2, None))
    lefts = (slice(0, -(-width // 2)), slice(width // 2, None))
    return torch.stack([level[:, :, top, left].amax((2, 3)) for top in tops for left in lefts], 2).flatten(1)


def _leaves(output: Tensor, known: set[Any]) -> Iterator[Tensor]:
    """The parameters on which ``output`` depends, by autograd's graph, without the part in ``known``, which grows."""
    todo: list[Any] = [output.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in known:
            known.add(node)
            todo += [following for following, _ in node.next_functions]
            if hasattr(node, "variable"):
                yield node.variable


def _is_batchnorm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)
