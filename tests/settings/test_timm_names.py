"""Image sizes that are no multiple of a network's patches are refused by its name alone, and so is a missing timm."""

import pytest

from retdm.errors import UserError
from retdm.settings import timm_names
from retdm.settings.compose import compose_settings
from retdm.settings.timm_names import TIMM, check_timm

CHOSEN = {"backbone": "dinov2_small"}


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
        check_timm({"_target_": TIMM, "name": name}, {"image_size": size}, CHOSEN)
    assert error.value.hint == f"data.image_size={near} is the nearest"


def test_whole_patches_other_networks_and_sizes_that_are_not_chosen_yet_pass() -> None:
    for name, size in (("vit_small_patch14_dinov2", 224), ("resnet50d", 225), ("vit_small_patch14_dinov2", None)):
        check_timm({"_target_": TIMM, "name": name}, {"image_size": size}, CHOSEN)
    check_timm({"_target_": "own.Patches", "name": "patch14"}, {"image_size": 225}, CHOSEN)
    check_timm({}, {}, {"backbone": "none"})


def test_a_run_is_refused_as_it_is_composed() -> None:
    with pytest.raises(UserError, match="data.image_size=100: vit_small_patch16_dinov3.lvd1689m reads patches of 16"):
        compose_settings(["data=synthetic", "backbone=dinov3_small", "data.image_size=100"])


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_names, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="backbone=dinov2_small needs a package that is not installed") as error:
        compose_settings(["data=synthetic", "backbone=dinov2_small", "data.image_size=112"])
    assert error.value.hint == 'pip install "retdm[timm]"'
    assert compose_settings(["data=synthetic", "backbone=resnet50"]).network == "resnet50"
