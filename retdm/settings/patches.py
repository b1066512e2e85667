"""Image sizes that a network of timm can cut into patches, by its name: known before timm and PyTorch are imported."""

import re
from collections.abc import Mapping
from typing import Any

from retdm.errors import UserError

TIMM = "retdm.backbones.timm_nets.Timm"
PATCH = re.compile(r"(?<![a-z0-9])patch(\d+)(?![a-z0-9])")  # vit_small_patch14_dinov2


def check_patches(backbone: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Check that images consist of whole patches, where the network's name says how large those are.

    Args:
        backbone: settings of the group.
        data: settings of the group; an ``image_size`` of None is not chosen yet.

    Raises:
        UserError: they do not; the nearest size is named.
    """
    size, name = data.get("image_size"), str(backbone.get("name"))
    if backbone.get("_target_") != TIMM or not isinstance(size, int) or not (stated := PATCH.search(name)):
        return
    patch = int(stated[1])
    if size % patch:
        raise UserError(
            f"data.image_size={size}: {name} reads patches of {patch} x {patch} pixels and takes a multiple of {patch}",
            f"data.image_size={nearest_multiple(size, patch)} is the nearest",
        )


def nearest_multiple(size: int, patch: int) -> int:
    """The multiple of ``patch`` nearest to ``size``, at least one patch."""
    return max(1, round(size / patch)) * patch
