"""What the settings of a network of timm show before timm and PyTorch, which take seconds, are imported."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from retdm.errors import UserError

TIMM = "retdm.backbones.timm_nets.Timm"
PATCH = re.compile(r"(?<![a-z0-9])patch(\d+)(?![a-z0-9])")  # vit_small_patch14_dinov2


def check_timm(backbone: Mapping[str, Any], data: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    """Check that timm is installed, and that images consist of whole patches where the name says how large those are.

    Args:
        backbone: settings of the group; of a network that is not timm's nothing is checked.
        data: settings of the group; an ``image_size`` of None is not chosen yet.
        choices: group -> name of its YAML file.

    Raises:
        UserError: they do not; the nearest size is named.
    """
    if backbone.get("_target_") != TIMM:
        return
    if find_spec("timm") is None:
        raise UserError(
            f"backbone={choices['backbone']} needs a package that is not installed", 'pip install "retdm[timm]"'
        )
    size, name = data.get("image_size"), str(backbone.get("name"))
    if not isinstance(size, int) or not (stated := PATCH.search(name)):
        return
    patch = int(stated[1])
    if size % patch:
        near = max(1, round(size / patch)) * patch
        raise UserError(
            f"data.image_size={size}: {name} reads patches of {patch} x {patch} pixels and takes a multiple of {patch}",
            f"data.image_size={near} is the nearest",
        )
