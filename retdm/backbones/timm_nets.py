"""Any network of the timm library (Wightman, github.com/huggingface/pytorch-image-models), by its name there."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from retdm.backbones.base import Backbone, BatchNormMode, Transform
from retdm.backbones.weights import WeightsReport
from retdm.errors import UserError
from retdm.registry import close_names


class Timm(Backbone):
    """A network of timm without its classification layer; the embedding is that layer's input.

    Its stages are the intermediate maps that timm offers, by number from 1; those of a transformer are its blocks'
    tokens, laid out as their patches lie in the image.

    Args:
        name: as timm lists it, such as ``resnet50d`` or ``vit_small_patch16_224``.
        weights: ``imagenet`` (timm's own for this name, downloaded once), ``none``, or a path of a state dict under
            timm's names.
        batchnorm, load: see ``Backbone``.

    Raises:
        UserError: timm is not installed or has no such network, or its weights cannot be loaded.
    """

    net: Any

    def __init__(
        self,
        name: str = "resnet50d",
        weights: str = "imagenet",
        *,
        batchnorm: BatchNormMode = None,
        load: bool = True,
    ) -> None:
        fetched = load and weights == "imagenet"
        net = _created(name, pretrained=fetched)
        self.name = name  # type: ignore[misc]  # one class for many networks
        self.last_layer = net.pretrained_cfg.get("classifier")
        size = net.pretrained_cfg["input_size"][-1]
        self.transform = Transform(size, net.pretrained_cfg["mean"], net.pretrained_cfg["std"])
        self.side = size if net.pretrained_cfg.get("fixed_input_size") else None
        self.smallest = self.side or 32
        self.stages = (*(str(number + 1) for number in range(len(net.feature_info))), "fc")
        mode = batchnorm or ("trained" if weights == "none" else "frozen")
        dim = getattr(net, "head_hidden_size", None) or net.num_features
        super().__init__(
            net,
            dim=dim,
            weights="none" if fetched else weights,
            batchnorm=mode,
            load=load,
        )
        if fetched:
            self.report = WeightsReport(len(net.state_dict()), [], [], _source(net), "")

    @classmethod
    def imagenet_name(cls, config: Mapping[str, Any]) -> str:
        name = str(config.get("name", "resnet50d"))
        return _source(_created(name, pretrained=False))

    def levels(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        for number, level in enumerate(self._maps(image, norm=True)):
            yield str(number + 1), level

    def _bare_levels(self, image: Tensor) -> Iterator[Tensor]:
        return iter(self._maps(image, norm=False))  # a transformer's last normalisation is in each of its levels

    def _maps(self, image: Tensor, *, norm: bool) -> list[Tensor]:
        self._check_side(image)
        maps: list[Tensor] = self.net.forward_intermediates(
            image, norm=norm, output_fmt="NCHW", intermediates_only=True
        )
        return maps

    def embedding(self, image: Tensor) -> Tensor:
        self._check_size(image)
        self._check_side(image)
        embedding: Tensor = self.net.forward_head(self.net.forward_features(image), pre_logits=True)
        return embedding

    def check_side(self, side: int) -> None:
        super().check_side(side)
        self._check_side(torch.empty(1, 3, side, side, device="meta"))

    def _check_side(self, image: Tensor) -> None:
        if self.side is not None and image.shape[-2:] != (self.side, self.side):
            raise UserError(
                f"{self.name} takes images of {self.side} x {self.side}, not of {image.shape[-2]} x {image.shape[-1]}",
                f"data.image_size={self.side}",
            )


def _created(name: str, *, pretrained: bool) -> Any:
    try:
        import timm
    except ImportError as error:
        raise UserError("backbone=timm needs a package that is not installed", 'pip install "retdm[timm]"') from error
    if not timm.is_model(name):
        near = close_names(name, timm.list_models())
        raise UserError(
            f"timm has no network called {name}",
            f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them",
        )
    try:
        net = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except Exception as error:  # of the hub's client without a network, of timm without weights
        if not pretrained:
            raise
        raise UserError(
            f"timm's weights of {name} cannot be loaded ({type(error).__name__})",
            "fetch them elsewhere and say backbone.weights=<path of the file>, or backbone.weights=none",
        ) from error
    if not hasattr(net, "forward_intermediates"):
        raise UserError(f"timm's {name} does not give its intermediate maps", "choose another backbone.name")
    return net


def _source(net: Any) -> str:
    config = net.pretrained_cfg
    return f"timm:{config.get('hf_hub_id') or config.get('url') or config['architecture']}"
