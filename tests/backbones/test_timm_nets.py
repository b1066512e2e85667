"""Networks of timm behind the one interface."""

from pathlib import Path
from typing import Any

import pytest
import torch
from nets import build_backbone

from retdm.backbones import weights_hash
from retdm.backbones.timm_nets import Timm
from retdm.errors import UserError

pytest.importorskip("timm")


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "test_convnext"])
def test_its_views_agree_with_its_own_forward_pass(name: str) -> None:
    torch.manual_seed(0)
    backbone = Timm(name, weights="none").eval()
    side = backbone.smallest
    image = torch.randn(2, 3, side, side)
    with torch.no_grad():
        embedding, maps = backbone.embedding(image), backbone.maps(image)
        assert torch.allclose(embedding, backbone.net(image), atol=1e-5)
        assert embedding.shape == (2, backbone.dim)
        assert maps.shape[:2] == (2, backbone.channels)
        widths = [4 * level.shape[1] for _, level in backbone.levels(image)] + [backbone.channels]
        assert backbone.multilevel(image).shape == (2, sum(widths))
    assert len(widths) == len(backbone.stages)


def test_the_depths_of_a_transformer_are_its_blocks() -> None:
    depths = Timm("vit_tiny_patch16_224", weights="none").depths()
    blocks = {name.split(".")[2]: depth for name, depth in depths.items() if ".blocks." in name}
    assert [blocks[str(number)] for number in range(12)] == list(range(13, 1, -1))
    assert {name for name, depth in depths.items() if depth == 1} == {"net.norm.weight", "net.norm.bias"}
    assert depths["net.pos_embed"] == depths["net.patch_embed.proj.weight"] == 13  # with the first block


def test_a_network_of_one_size_says_which() -> None:
    backbone = Timm("vit_tiny_patch16_224", weights="none").eval()
    with pytest.raises(UserError, match="takes images of 224 x 224, not of 256 x 256"):
        backbone.embedding(torch.zeros(1, 3, 256, 256))


def test_unknown_names_are_told_with_some_that_are_known() -> None:
    with pytest.raises(UserError, match="timm has no network called resnet51") as error:
        Timm("resnet51", weights="none")
    assert error.value.hint.startswith("did you mean resnet")


def test_a_file_of_timms_names_is_loaded_without_its_classification_layer(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(1)
    whole: Any = timm.create_model("resnet10t", pretrained=False)
    path = tmp_path / "weights.pth"
    torch.save(whole.state_dict(), path)
    backbone = build_backbone(
        {"_target_": "retdm.backbones.timm_nets.Timm", "name": "resnet10t", "weights": str(path)}
    ).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = whole.eval().forward_head(whole.forward_features(image), pre_logits=True)
        assert torch.allclose(backbone.embedding(image), expected, atol=1e-5)
    assert backbone.report is not None and backbone.report.unused == ["fc"]


def test_its_imagenet_weights_are_named_without_a_download() -> None:
    found = weights_hash(Timm, {"name": "resnet50d", "weights": "imagenet"})
    assert found.startswith("imagenet:timm:timm/resnet50d")
