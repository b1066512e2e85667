"""Networks that turn pixels into features, one file a family, behind one interface (`Backbone`)."""

import inspect
from collections.abc import Mapping
from typing import Any

from retdm.backbones.base import Backbone, NoBackbone, Transform
from retdm.backbones.weights import WeightsReport, file_hash, find_file
from retdm.errors import UserError
from retdm.registry import resolve

__all__ = ["Backbone", "NoBackbone", "Transform", "WeightsReport", "build_backbone", "weights_hash"]


def build_backbone(config: Mapping[str, Any], *, load: bool = True) -> Backbone:
    """Build the backbone of a configuration, such as ``{_target_: retdm.backbones.vgg.VGG16, fc: 512}``.

    Args:
        config: ``_target_`` and the constructor's arguments, as in ``conf/backbone/*.yaml``.
        load: False builds the architecture alone (with the BatchNorm mode that ``weights`` implies) and reads no file,
            for a checkpoint that has the parameters itself.

    Raises:
        UserError: the class is unknown or not a backbone; the weights cannot be loaded or do not fit.
    """
    settings = {key: value for key, value in config.items() if key != "_target_"}
    backbone: Backbone = _backbone_class(config)(**settings, load=load)
    return backbone


def weights_hash(backbone: type[Backbone], config: Mapping[str, Any]) -> str:
    """Identify the initial parameters by content: ``none``, ``imagenet:<file name>`` or the SHA-256 of the file.

    Nothing is downloaded.

    Args:
        backbone: the class of ``config``.
        config: the constructor's arguments.

    Raises:
        UserError: the file does not exist, or there are no ImageNet weights for this backbone.
    """
    parameter = inspect.signature(backbone).parameters.get("weights")
    weights = str(config.get("weights", "none" if parameter is None else parameter.default))
    if weights == "none":
        return "none"
    if weights == "imagenet":
        return f"imagenet:{backbone.imagenet_name(config)}"
    return file_hash(find_file(weights))


def _backbone_class(config: Mapping[str, Any]) -> Any:
    if "_target_" not in config:
        raise UserError(
            "the backbone's configuration has no _target_", "name its class, such as retdm.backbones.vgg.VGG16"
        )
    found = resolve(config["_target_"])
    if not issubclass(found, Backbone):
        raise UserError(
            f"_target_ {config['_target_']!r} is not a backbone", "name a class such as retdm.backbones.vgg.VGG16"
        )
    return found
