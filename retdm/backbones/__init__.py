"""Networks that turn pixels into features, one file a family, behind one interface (`Backbone`)."""

import inspect
from collections.abc import Mapping
from typing import Any

from retdm.backbones.base import Backbone, NoBackbone, Transform
from retdm.backbones.weight_files import find_file
from retdm.backbones.weights import WeightsReport
from retdm.files import file_hash

__all__ = ["Backbone", "NoBackbone", "Transform", "WeightsReport", "weights_hash"]


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
