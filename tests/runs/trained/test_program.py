"""Exported programs: every method and kind of network as plain operators."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from untrained import Untrained

from retdm.commands.export import TOLERANCE, export
from retdm.registry import CONF, resolve
from retdm.runs.trained.model import load
from retdm.runs.trained.program import random_views

# One of each class that can be exported: the others are its variants.
METHODS = sorted(
    file.stem
    for file in (CONF / "method").glob("*.yaml")
    if (target := yaml.safe_load(file.read_text()).get("_target_")) and resolve(target).exports  # type: ignore[attr-defined]
)
LIKE_BCE = ("asl", "center", "cnn_softmax", "cnn_warp", "large_loss", "role")  # the same network, trained otherwise
SMALL = {"cnn_rnn": ["method.length=2", "method.beams=2", "method.hidden_dim=16"]}  # each step is written out


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LIKE_BCE else name for name in METHODS]
)
def test_every_method_is_exported(untrained: Untrained, tmp_path: Path, name: str) -> None:
    run = untrained(f"method={name}", "method.decide=half", *SMALL.get(name, []))
    assert np.ptp(load(run.path).scores(random_views(32)), axis=0).max() > 3 * TOLERANCE, "scores of all images alike"
    assert max(export(run, tmp_path / "out", onnx=False).differences.values()) < 1e-5


@pytest.mark.parametrize(
    ("network", "weights", "batchnorm", "convolutions"),
    [
        pytest.param(  # no file is read
            "retdm.backbones.mobilenet.MobileNetV2", "imagenet", "frozen", 52, marks=pytest.mark.slow
        ),
        ("nets.Normed", "none", "trained", 1),
    ],
)
def test_batchnorm_becomes_part_of_a_plain_convolution(
    untrained: Untrained, tmp_path: Path, network: str, weights: str, batchnorm: str, convolutions: int
) -> None:
    run = untrained(backbone={"_target_": network, "weights": weights})
    assert load(run.path, user_classes=True).method.encoder.backbone.batchnorm == batchnorm
    file = tmp_path / "out" / "model.pt2"
    assert export(run, file.parent, onnx=False, user_classes=True).differences[file] < 1e-5
    program = torch.export.load(file)
    operators = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert operators.count("aten.conv2d.default") == convolutions
    assert not [name for name in operators if re.search(r"norm|rsqrt|mul|autocast", name)]
    assert not [name for name in program.state_dict if "running" in name]


def test_a_run_in_bfloat16_is_exported_in_float32(untrained: Untrained, tmp_path: Path) -> None:
    run = untrained("method=bce", "trainer.precision=bf16-mixed")
    model = load(run.path)
    assert model.method.encoder.autocast == torch.bfloat16
    export(run, tmp_path / "out", onnx=False)
    model.method.encoder.autocast = None
    views = random_views(32)
    assert (
        np.abs(torch.export.load(tmp_path / "out" / "model.pt2").module()(views).numpy() - model.scores(views)).max()
        < 1e-5
    )
