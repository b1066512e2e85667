"""Any network of the timm library (Wightman, github.com/huggingface/pytorch-image-models), by its name there."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from retdm.backbones.base import Backbone, BatchNormMode, Transform, evaluating
from retdm.backbones.places import each_place, each_token
from retdm.backbones.timm_build import config_of, created, preparation_of, source_of, under_timms_names
from retdm.backbones.weights import WeightsReport
from retdm.errors import UserError
from retdm.ranges import Between

Pool = Literal["avg", "cls", "cls+avg"] | None


class Timm(Backbone):
    """A network of timm without its classification layer.

    Its stages are the intermediate maps that timm offers, by number from 1; those of a transformer are its blocks'
    patch tokens, laid out as their patches lie in the image, without class and register tokens.

    Args:
        name: as timm lists it, with or without the tag of its weights: ``resnet50d``,
            ``vit_base_patch16_siglip_224.v2_webli``.
        weights: ``imagenet`` (timm's own for this name, whatever they were trained on, downloaded once), ``none``, or a
            path (see ``load_weights``) of tensors under timm's names or under those of the original files, as far as
            timm can convert them. Positional embeddings are resized to ``image_size``.
        pool: the embedding. None: what timm feeds to the classification layer. ``avg``: the mean of the last map over
            its places; ``cls``: the class token; ``cls+avg``: both, side by side.
        crop: share of each side around the centre that is shown; ``weights``: as in the evaluation of the weights.
        batchnorm, load: see ``Backbone``.
        image_size: side of the images, for networks that are built for one size; None: that of the weights.

    Raises:
        UserError: timm is not installed or has no such network, its weights cannot be loaded, it has no class token, or
            the image size is no multiple of its patches.
    """

    names = "timm's or the original"
    net: Any

    def __init__(
        self,
        name: str = "resnet50d",
        weights: str = "imagenet",
        pool: Pool = None,
        crop: Annotated[float, Between(0, 1, with_low=False)] | Literal["weights"] = 1.0,
        *,
        batchnorm: BatchNormMode = None,
        load: bool = True,
        image_size: int | None = None,
    ) -> None:
        fetched = load and weights == "imagenet"
        self.transform = self.transform_of({"name": name, "crop": crop})
        config = config_of(name)
        source = source_of(config) if fetched else ""
        net = created(name, image_size, pretrained=fetched)
        self.name = name  # type: ignore[misc]  # one class for many networks
        self.last_layer = config.get("classifier")
        self.pool = pool
        self.patch = _patch(net)
        self.side = _side(net)
        self.smallest = self.side or max(32, self.patch)
        self.stages = (*(str(number + 1) for number in range(len(net.feature_info))), "fc")
        if pool in ("cls", "cls+avg") and getattr(net, "cls_token", None) is None:
            raise UserError(f"backbone.pool={pool}: timm's {name} has no class token", "backbone.pool=avg, or null")
        mode = batchnorm or ("trained" if weights == "none" else "frozen")
        width = getattr(net, "head_hidden_size", None) or net.num_features
        super().__init__(
            net,
            dim=width,
            weights="none" if fetched else weights,
            batchnorm=mode,
            load=load,
        )
        if pool is not None:
            self.dim = self.channels * (2 if pool == "cls+avg" else 1)
        if fetched:
            self.report = WeightsReport(len(net.state_dict()), [], [], source, "")

    @classmethod
    def imagenet_name(cls, config: Mapping[str, Any]) -> str:
        return source_of(config_of(str(config.get("name", "resnet50d"))))

    @classmethod
    def transform_of(cls, config: Mapping[str, Any]) -> Transform:
        wanted = preparation_of(config_of(str(config.get("name", "resnet50d"))))
        crop = config.get("crop", 1.0)
        return Transform(
            size=wanted["input_size"][-1],
            mean=wanted["mean"],
            std=wanted["std"],
            interpolation=wanted["interpolation"],
            crop=float(wanted["crop_pct"] if crop == "weights" else crop),
        )

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return under_timms_names(self.net, state)

    def levels(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        for number, level in enumerate(self._maps(image, norm=True)):
            yield str(number + 1), level

    def _bare_levels(self, image: Tensor) -> Iterator[Tensor]:
        return iter(self._maps(image, norm=False))  # a transformer's last normalisation is in each of its levels

    def _maps(self, image: Tensor, *, norm: bool, last: bool = False) -> list[Tensor]:
        self._check_size(image)
        maps: list[Tensor] = self.net.forward_intermediates(
            image, indices=1 if last else None, norm=norm, output_fmt="NCHW", intermediates_only=True
        )
        return maps

    def maps(self, image: Tensor) -> Tensor:
        (last,) = self._maps(image, norm=True, last=True)
        return last

    def embedding(self, image: Tensor) -> Tensor:
        self._check_size(image)
        if self.pool == "avg":
            return super().embedding(image)
        return self._pooled(self.net.forward_features(image))

    @cached_property
    def embeds_places(self) -> bool:
        """True where timm's last features are a map, or tokens of which each patch has one."""
        if self.pool == "avg":
            return True
        blank = next(self.parameters()).new_zeros(1, 3, self.smallest, self.smallest)
        with evaluating(self):
            features = self.net.forward_features(blank)
        if not isinstance(features, Tensor) or any("AttentionPool2d" in type(each).__name__ for each in self.modules()):
            return False  # that pooling has positions of its own
        rows, columns = self._grid(blank)
        return features.ndim == 4 or features.shape[1] >= rows * columns

    def embedding_and_places(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """As of every backbone. A patch of a transformer is pooled with the image's class and register tokens; where
        the class token alone is pooled, the patch's takes its place, and the embedding is no mean of such places."""
        if self.pool == "avg":
            return super().embedding_and_places(image)
        self._check_size(image)
        features: Tensor = self.net.forward_features(image)
        if features.ndim == 3:
            alone = self.pool == "cls" or (self.pool is None and getattr(self.net, "global_pool", "") == "token")
            places = each_token(features, self._grid(image), self._pooled, with_prefix=not alone)
        elif getattr(self.net, "output_fmt", "NCHW") == "NHWC":
            places = each_place(features.permute(0, 3, 1, 2), lambda maps: self._pooled(maps.permute(0, 2, 3, 1)))
        else:
            places = each_place(features, self._pooled)
        return self._pooled(features), places

    def _grid(self, image: Tensor) -> tuple[int, int]:
        """The sides of the last map of an image."""
        ratio = int(self.net.feature_info[-1]["reduction"])
        return -(-image.shape[-2] // ratio), -(-image.shape[-1] // ratio)

    def _pooled(self, features: Tensor) -> Tensor:
        """The embedding (B, dim) of what timm's ``forward_features`` gives."""
        if self.pool is None:
            embedding: Tensor = self.net.forward_head(features, pre_logits=True)
            return embedding
        token = features[:, 0]
        if self.pool == "cls":
            return token
        return torch.cat([token, features[:, self.net.num_prefix_tokens :].mean(1)], 1)

    def _check_size(self, image: Tensor) -> None:
        height, width = image.shape[-2:]
        if self.side is not None and (height, width) != (self.side, self.side):
            raise UserError(
                f"{self.name} takes images of {self.side} x {self.side}, not of {height} x {width}",
                f"data.image_size={self.side}",
            )
        super()._check_size(image)
        if height % self.patch or width % self.patch:
            near = max(self.patch, self.patch * round(height / self.patch))
            raise UserError(
                f"{self.name} reads patches of {self.patch} x {self.patch} pixels, of which images of {height} x "
                f"{width} are no multiple",
                f"data.image_size={near}",
            )


def _patch(net: Any) -> int:
    """The side of a transformer's patches in pixels; 1 where images are not cut into patches."""
    ratio = getattr(getattr(net, "patch_embed", None), "feat_ratio", None)
    return int(ratio()) if ratio else 1


def _side(net: Any) -> int | None:
    """The side of the images that a network is built for; None: it takes many."""
    from timm.models import get_model_input_config

    if not net.pretrained_cfg.get("fixed_input_size"):
        return None
    side: int = get_model_input_config(net)["input_size"][-1]
    return side
