"""Image sizes that are no multiple of a network's patches are refused by its name alone."""

import pytest

from retdm.errors import UserError
from retdm.settings.compose import compose_settings
from retdm.settings.patches import TIMM, check_patches


@pytest.mark.parametrize(
    "name, size, near",
    [
        ("vit_small_patch14_dinov2.lvd142m", 225, 224),
        ("vit_small_patch14_dinov2", 8, 14),
        ("vit_base_patch16_224", 200, 192),
        ("vit_base_patch32_clip_224", 250, 256),
    ],
)
def test_the_nearest_size_is_named(name: str, size: int, near: int) -> None:
    with pytest.raises(UserError, match=f"data.image_size={size}: {name} reads patches of .* multiple of ") as error:
        check_patches({"_target_": TIMM, "name": name}, {"image_size": size})
    assert error.value.hint == f"data.image_size={near} is the nearest"


def test_whole_patches_other_networks_and_sizes_that_are_not_chosen_yet_pass() -> None:
    for name, size in (("vit_small_patch14_dinov2", 224), ("resnet50d", 225), ("vit_small_patch14_dinov2", None)):
        check_patches({"_target_": TIMM, "name": name}, {"image_size": size})
    check_patches({"_target_": "own.Patches", "name": "patch14"}, {"image_size": 225})
    check_patches({}, {})


def test_a_run_is_refused_as_it_is_composed() -> None:
    with pytest.raises(UserError, match="data.image_size=100: vit_small_patch16_dinov3.lvd1689m reads patches of 16"):
        compose_settings(["data=synthetic", "backbone=dinov3_small", "data.image_size=100"])
