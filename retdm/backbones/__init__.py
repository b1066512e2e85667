"""Pixels to features: the networks, one file a family, behind one interface (`Backbone`)."""

import inspect
from collections.abc import Mapping
from typing import Any

from retdm.backbones.base import Backbone, NoBackbone, Transform
from retdm.backbones.weights import WeightsReport, file_hash, find_file
from retdm.errors import UserError
from retdm.targets import resolve

__all__ = ["Backbone", "NoBackbone", "Transform", "WeightsReport", "build_backbone", "weights_hash"]


def build_backbone(config: Mapping[str, Any], *, load: bool = True, trusted_only: bool = False) -> Backbone:
    """The backbone that a configuration describes, such as ``{_target_: retdm.backbones.vgg.VGG16, fc: 512}``.

    Args:
        config: ``_target_`` and the constructor's arguments, as in ``conf/backbone/*.yaml``.
        load: False rebuilds the architecture (with the BatchNorm mode that ``weights`` implies) and reads no file: what
            a checkpoint needs, which holds the parameters itself.
        trusted_only: accept classes of this package alone, because the configuration comes out of a checkpoint.

    Raises:
        UserError: the class is unknown or no backbone; the weights cannot be had or do not fit.
    """
    settings = {key: value for key, value in config.items() if key != "_target_"}
    backbone: Backbone = _backbone_class(config, trusted_only=trusted_only)(**settings, load=load)
    return backbone


def weights_hash(config: Mapping[str, Any]) -> str:
    """What the parameters start from, by content: ``none``, ``imagenet:<file name>`` or the SHA-256 of the file.

    Downloads nothing.

    Raises:
        UserError: the file does not exist, or there are no ImageNet weights for this backbone.
    """
    backbone = _backbone_class(config)
    default = inspect.signature(backbone).parameters["weights"].default
    weights = str(config.get("weights", default))
    if weights == "none":
        return "none"
    if weights == "imagenet":
        return f"imagenet:{backbone.imagenet_name(config)}"
    return file_hash(find_file(weights))


def _backbone_class(config: Mapping[str, Any], *, trusted_only: bool = False) -> Any:
    if "_target_" not in config:
        raise UserError(
            "the backbone's configuration has no _target_", "name its class, such as retdm.backbones.vgg.VGG16"
        )
    found = resolve(str(config["_target_"]), trusted_only=trusted_only)
    if not issubclass(found, Backbone):
        raise UserError(
            f"_target_ {config['_target_']!r} is no backbone", "name a class such as retdm.backbones.vgg.VGG16"
        )
    return found
