"""Networks of timm behind the one interface: what they compute is timm's own forward pass."""

from typing import Any

import pytest
import torch

from retdm.backbones import weights_hash
from retdm.backbones.base import Transform
from retdm.backbones.timm_nets import Timm
from retdm.errors import UserError

timm = pytest.importorskip("timm")

# Of each family the smallest, at a size that is not that of its weights where it is built for one.
FAMILIES = {
    "resnet10t": 96,
    "test_convnext": 64,
    "test_efficientnet": 64,
    "test_vit": 96,  # class token
    "test_vit3": 96,  # attention pooling, as SigLIP
    "vit_xsmall_patch16_clip_224": 64,  # a normalisation before the blocks
    "vit_small_patch14_reg4_dinov2": 56,  # class and register tokens
    "vit_small_patch16_dinov3": 64,  # rotary positions
    "swin_tiny_patch4_window7_224": 64,  # (B, h, w, C) inside
}
MEANS = ("resnet10t", "test_efficientnet", "swin_tiny_patch4_window7_224")  # of the last map, with nothing behind it
TOKENS = {"test_vit": 1, "vit_xsmall_patch16_clip_224": 1, "vit_small_patch14_reg4_dinov2": 5}


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request: pytest.FixtureRequest) -> Timm:
    torch.manual_seed(0)
    built = Timm(request.param, weights="none", image_size=FAMILIES[request.param]).eval()
    for parameter in built.parameters():  # biases and tokens of zero would hide what is left out
        parameter.data += 0.02 * torch.randn_like(parameter)
    return built


@pytest.fixture(scope="module")
def image(backbone: Timm) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, FAMILIES[backbone.name], FAMILIES[backbone.name])


@torch.no_grad()
def test_the_embedding_is_what_timm_feeds_to_the_classification_layer(backbone: Timm, image: torch.Tensor) -> None:
    net = backbone.net
    expected = net.forward_head(net.forward_features(image), pre_logits=True)
    assert torch.equal(backbone.embedding(image), expected) and torch.equal(net(image), expected)
    assert expected.shape == (2, backbone.dim)


@torch.no_grad()
def test_maps_are_timms_intermediates_without_prefix_tokens(backbone: Timm, image: torch.Tensor) -> None:
    theirs = backbone.net.forward_intermediates(image, norm=True, intermediates_only=True)
    ours = dict(backbone.levels(image))
    assert len(theirs) == len(ours) == len(backbone.stages) - 1
    assert all(torch.equal(*pair) for pair in zip(ours.values(), theirs, strict=True))
    maps = backbone.maps(image)
    assert torch.equal(maps, theirs[-1]) and maps.shape[1] == backbone.channels
    if (prefix := TOKENS.get(backbone.name)) is not None:
        assert backbone.net.num_prefix_tokens == prefix
        tokens = backbone.net.forward_features(image)[:, prefix:]
        assert torch.allclose(maps.flatten(2).transpose(1, 2), tokens, atol=1e-6)


@torch.no_grad()
def test_an_image_is_pooled_by_name(backbone: Timm, image: torch.Tensor) -> None:
    average = backbone.maps(image).mean((2, 3))
    has_token = getattr(backbone.net, "cls_token", None) is not None
    found = {}
    for pool in ("avg", "cls", "cls+avg"):
        if pool != "avg" and not has_token:
            with pytest.raises(UserError, match=f"{backbone.name} has no class token"):
                Timm(backbone.name, weights="none", pool=pool)
            return
        backbone.pool = pool
        found[pool] = backbone.embedding(image)
    backbone.pool = None
    assert torch.allclose(found["avg"], average, atol=1e-6)
    assert torch.equal(found["cls"], backbone.net.forward_features(image)[:, 0])
    assert torch.allclose(found["cls+avg"], torch.cat([found["cls"], average], 1), atol=1e-6)


@torch.no_grad()
def test_places_have_embeddings_of_which_a_mean_is_the_mean(backbone: Timm, image: torch.Tensor) -> None:
    for pool in (None, "avg", "cls", "cls+avg"):
        if pool in ("cls", "cls+avg") and getattr(backbone.net, "cls_token", None) is None:
            continue
        backbone.pool = pool
        embedding, places = backbone.embedding_and_places(image)
        assert backbone.embeds_places and torch.equal(embedding, backbone.embedding(image))
        height, width = backbone.maps(image).shape[2:]
        assert places.shape == (2, embedding.shape[1], height, width) and places.std((2, 3)).max() > 0
        if pool in ("avg", "cls+avg") or backbone.name in MEANS:
            torch.testing.assert_close(places.mean((2, 3)), embedding, atol=1e-4, rtol=1e-4)
        if pool == "cls" or (pool is None and backbone.name in TOKENS):
            torch.testing.assert_close(places, backbone.maps(image), atol=1e-5, rtol=1e-4)
    backbone.pool = None


@torch.no_grad()
def test_a_pyramid_whose_class_token_alone_is_left_has_no_places() -> None:
    assert not Timm("pit_ti_224", weights="none").embeds_places


@pytest.mark.parametrize("pool, dim", [(None, 64), ("avg", 64), ("cls", 64), ("cls+avg", 128)])
def test_its_width_is_that_of_what_is_pooled(pool: Any, dim: int) -> None:
    backbone = Timm("test_vit", weights="none", pool=pool, image_size=64)
    assert backbone.dim == dim == backbone(torch.zeros(1, 3, 64, 64)).shape[1]


def test_the_mean_of_the_last_map_has_places() -> None:
    backbone, image = Timm("test_vit", weights="none", pool="avg", image_size=64).eval(), torch.randn(2, 3, 64, 64)
    embedding, places = backbone.embedding_and_places(image)
    assert torch.equal(embedding, backbone.embedding(image)) and places.shape == (2, 64, 4, 4)
    assert torch.allclose(places.mean((2, 3)), embedding, atol=1e-6)
    assert backbone.embeds_places


def test_all_depths_of_features_stand_side_by_side() -> None:
    backbone = Timm("test_vit", weights="none", image_size=64).eval()
    assert backbone.multilevel(torch.zeros(2, 3, 64, 64)).shape == (2, 6 * 4 * 64 + 64)


def test_the_depths_of_a_transformer_are_its_blocks() -> None:
    backbone = Timm("test_vit", weights="none", image_size=64)
    depths, count = backbone.depths(), len(backbone.net.blocks)
    blocks = {name.split(".")[2]: depth for name, depth in depths.items() if ".blocks." in name}
    assert [blocks[str(number)] for number in range(count)] == list(range(count + 1, 1, -1))
    assert {name for name, depth in depths.items() if depth == 1} == {"net.norm.weight", "net.norm.bias"}
    assert depths["net.pos_embed"] == depths["net.patch_embed.proj.weight"] == count + 1  # with the first block


def test_a_network_of_one_size_says_which() -> None:
    backbone = Timm("test_vit", weights="none", image_size=96).eval()
    with pytest.raises(UserError, match="takes images of 96 x 96, not of 64 x 64"):
        backbone.embedding(torch.zeros(1, 3, 64, 64))
    assert Timm("test_vit", weights="none").side == 160  # that of its weights


def test_images_of_no_whole_patches_are_told_the_nearest_size() -> None:
    backbone = Timm("test_vit", weights="none", image_size=100)
    with pytest.raises(UserError, match="patches of 16 x 16 pixels, of which images of 100 x 100") as error:
        backbone.check_side(100)
    assert error.value.hint == "data.image_size=96"


@pytest.mark.parametrize("name", ["vit_base_patch16_siglip_224.v2_webli", "tf_efficientnet_lite2.in1k"])
def test_images_are_prepared_as_the_weights_want_it_but_whole(name: str) -> None:
    wanted = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    assert wanted["interpolation"] == "bicubic" and wanted["crop_pct"] < 1
    transform = Timm.transform_of({"name": name})
    expected = {key: wanted[key] for key in ("mean", "std", "interpolation")} | {"size": wanted["input_size"][1]}
    assert transform == Transform(**expected)
    assert Timm.transform_of({"name": name, "crop": "weights"}) == Transform(**expected, crop=wanted["crop_pct"])


def test_the_crop_of_images_is_part_of_a_transform_unless_they_are_whole() -> None:
    transform = Timm.transform_of({"name": "test_vit", "crop": 0.75})
    assert transform.as_dict()["crop"] == 0.75 and Transform(**transform.as_dict()) == transform
    assert "crop" not in Timm.transform_of({"name": "test_vit"}).as_dict()


def test_unknown_names_are_told_with_some_that_are_known() -> None:
    with pytest.raises(UserError, match="timm has no network called resnet51") as error:
        Timm("resnet51", weights="none")
    assert error.value.hint.startswith("did you mean resnet")
    with pytest.raises(UserError, match="timm's resnet50d has no weights called mine") as error:
        Timm("resnet50d.mine", weights="none")
    assert "ra2_in1k" in error.value.hint


def test_its_own_weights_are_named_without_a_download() -> None:
    found = weights_hash(Timm, {"name": "resnet50d", "weights": "imagenet"})
    assert found.startswith("imagenet:timm:timm/resnet50d")


def test_a_network_without_weights_is_told_with_a_relative_that_has_some() -> None:
    for call in (Timm, lambda name: weights_hash(Timm, {"name": name, "weights": "imagenet"})):
        with pytest.raises(UserError, match="timm has no weights for efficientnet_lite2") as error:
            call("efficientnet_lite2")
        assert error.value.hint.startswith("backbone.name=tf_efficientnet_lite2.in1k")
