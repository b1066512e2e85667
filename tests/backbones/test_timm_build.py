"""Files of weights for timm's networks: under the original names, of other sizes, in half precision, as safetensors.

The reference is timm's own loading of the same file.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from retdm.backbones.timm_nets import Timm
from retdm.errors import UserError

timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")

State = dict[str, Tensor]


def renamed(state: State, *pairs: tuple[str, str]) -> State:
    """The same tensors, with each pattern replaced in their names, in order."""
    found = {}
    for name, tensor in state.items():
        for pattern, by in pairs:
            name = re.sub(pattern, by, name)
        found[name] = tensor
    return found


def as_dinov2(state: State) -> State:
    width = state["cls_token"].shape[-1]
    place = torch.randn(1, 1, width)  # of the class token, which timm adds to it
    tokens = {
        "register_tokens": state["reg_token"],
        "cls_token": state["cls_token"] - place,
        "pos_embed": torch.cat([place, state["pos_embed"]], 1),
        "mask_token": torch.randn(1, width),
    }
    return {name: tensor for name, tensor in state.items() if name != "reg_token"} | tokens


def as_dinov3(state: State) -> State:
    more = {"mask_token": torch.randn(1, 384), "rope_embed.periods": torch.randn(16)}
    for block in range(12):  # timm's network without these biases is that of weights where they are all zero
        more |= {f"blocks.{block}.attn.qkv.{name}": torch.zeros(3 * 384) for name in ("bias", "bias_mask")}
    return renamed(state, ("reg_token", "storage_tokens"), (r"gamma_([12])$", r"ls\1.gamma")) | more


def as_clip(state: State) -> State:
    visual = renamed(
        state,
        (r"^patch_embed\.proj", "conv1"),
        (r"^pos_embed", "positional_embedding"),
        (r"^norm_pre", "ln_pre"),
        (r"^norm\.", "ln_post."),
        (r"^blocks", "transformer.resblocks"),
        (r"norm([12])", r"ln_\1"),
        (r"qkv\.", "in_proj_"),
        (r"attn\.proj", "attn.out_proj"),
        (r"mlp\.fc1", "mlp.c_fc"),
        (r"mlp\.fc2", "mlp.c_proj"),
        (r"^cls_token", "class_embedding"),
    )
    visual["class_embedding"] = visual["class_embedding"][0, 0]
    visual["positional_embedding"] = visual["positional_embedding"][0]
    text = {"transformer.resblocks.0.ln_1.weight": torch.ones(4), "logit_scale": torch.ones(())}
    return {f"visual.{name}": tensor for name, tensor in visual.items()} | text


def as_siglip(state: State) -> State:
    text = {"text.positional_embedding": torch.ones(4), "logit_bias": torch.ones(1)}
    return {f"visual.trunk.{name}": tensor for name, tensor in state.items()} | text


def as_convnextv2(state: State) -> State:
    found = renamed(
        state,
        (r"^stem", "downsample_layers.0"),
        (r"^stages\.(\d)\.downsample", r"downsample_layers.\1"),
        (r"^stages\.(\d)\.blocks", r"stages.\1"),
        (r"conv_dw", "dwconv"),
        (r"mlp\.grn\.bias", "grn.beta"),
        (r"mlp\.grn\.weight", "grn.gamma"),
        (r"mlp\.fc", "pwconv"),
        (r"^head\.norm", "norm"),
        (r"^head\.fc", "head"),
    )
    return {name: tensor[None, None, None] if "grn" in name else tensor for name, tensor in found.items()}


ORIGINALS: dict[str, tuple[str, int, Callable[[State], State], list[str]]] = {
    "DINOv2": ("vit_small_patch14_reg4_dinov2", 56, as_dinov2, ["mask_token"]),
    "DINOv3": ("vit_small_patch16_dinov3", 64, as_dinov3, ["mask_token", "rope_embed"]),
    "CLIP": ("vit_xsmall_patch16_clip_224", 64, as_clip, ["head", "logit_scale", "transformer"]),
    "SigLIP": ("test_vit3", 160, as_siglip, ["head", "logit_bias", "text"]),
    "ConvNeXt V2": ("convnextv2_atto", 64, as_convnextv2, ["head.fc"]),
}


@pytest.mark.parametrize("family", ORIGINALS)
def test_the_names_of_the_original_files_are_understood(family: str, tmp_path: Path) -> None:
    name, side, original, left_over = ORIGINALS[family]
    torch.manual_seed(2)
    sized = {} if family == "ConvNeXt V2" else {"img_size": side}
    whole: Any = timm.create_model(name, **sized)
    path = tmp_path / "model.safetensors"
    content = {key: tensor.half().contiguous() for key, tensor in original(whole.state_dict()).items()}
    safetensors.save_file(content, path)
    backbone = Timm(name, weights=str(path), image_size=side).eval()
    theirs: Any = timm.create_model(
        name, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": str(path)}, **sized
    )
    state = theirs.state_dict()
    assert state.keys() == backbone.net.state_dict().keys()
    for key, tensor in backbone.net.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.allclose(tensor, state[key].float(), atol=1e-3), key
        assert torch.allclose(tensor, whole.state_dict()[key], atol=2e-3), key
    assert backbone.report is not None
    assert (backbone.report.taken, backbone.report.random) == (len(state), [])
    assert sorted(backbone.report.unused) == left_over


def test_positional_embeddings_of_another_grid_are_resized_by_timm(tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole: Any = timm.create_model("test_vit")  # 160: 10 x 10 patches
    path = tmp_path / "weights.pth"
    torch.save({"model": whole.state_dict()}, path)
    backbone = Timm("test_vit", weights=str(path), image_size=96).eval()
    theirs: Any = timm.create_model(
        "test_vit", pretrained=True, num_classes=0, img_size=96, pretrained_cfg_overlay={"file": str(path)}
    ).eval()
    assert backbone.net.pos_embed.shape == (1, 37, 64) != whole.pos_embed.shape
    assert torch.equal(backbone.net.pos_embed, theirs.pos_embed)
    image = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(backbone.embedding(image), theirs(image))
    assert backbone.report is not None and backbone.report.unused == ["head"]
    again = tmp_path / "again.pth"  # a run's own, of the same size: nothing is resized
    torch.save(backbone.net.state_dict(), again)
    assert torch.equal(Timm("test_vit", weights=str(again), image_size=96).net.pos_embed, backbone.net.pos_embed)


def test_another_networks_tensors_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_vit").state_dict(), path)
    for name in ("resnet10t", "test_convnext"):
        with pytest.raises(UserError, match=f"does not fit {name}; missing: .*; unexpected: ") as error:
            Timm(name, weights=str(path))
        assert "under timm's or the original names" in error.value.hint


def test_without_the_hub_the_error_says_how_weights_get_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    with pytest.raises(UserError, match=r"timm's weights of test_vit cannot be loaded \(OSError\)") as error:
        Timm("test_vit")
    assert "backbone.weights=<file, or folder of the hub>" in error.value.hint
