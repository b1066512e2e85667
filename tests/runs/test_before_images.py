"""What cannot be is told before any image is decoded, and a run can be found again from elsewhere."""

import contextlib
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import in_process

import retdm
import retdm.runs
from retdm.backbones.vgg import VGG16
from retdm.commands.train import train
from retdm.data.sets.scene import Scene
from retdm.data.user.csv_labels import CsvLabels
from retdm.errors import UserError
from retdm.runs.build import build_method
from retdm.runs.evaluate import criteria_of, decision_of
from retdm.settings.compose import compose_settings, place
from retdm.settings.run_settings import RunSettings

Tiny = Callable[..., RunSettings]


VGG = {"_target_": "retdm.backbones.vgg.VGG16", "weights": "imagenet"}
MOBILE = {"_target_": "retdm.backbones.mobilenet.MobileNetV2", "weights": "none"}


@pytest.mark.parametrize(
    ("words", "backbone", "says"),
    [
        (["data.image_size=32"], VGG, "cannot be downloaded"),
        ([], MOBILE, "images of 16 x 16 are too small for mobilenet_v2"),
        (
            ["method=mi_svm", "method.instances=grid", "method.grid=5"],
            None,
            "images of 3 x 3 are too small for vgg_small",
        ),
        (["method=bce", "refit=true", "schedule.end_to_end.rule=plateau"], None, "refit=true: stage end_to_end"),
        (["method=asl", "refit=true"], None, "cannot choose a threshold on it"),
        (["method=retdm", "augment.mixup=0.2"], None, "augment.mixup=0.2 mixes label sets, and retdm takes whole ones"),
        (["method=asl", "augment.cutmix=1"], None, "augment.cutmix=1 mixes label sets, and asl takes whole ones"),
        (["method=lr", "trainer.devices=2"], None, "lr is fitted by one process, not by 2"),
        (["data.image_size=32", "trainer.devices=2"], MOBILE, "trains its BatchNorm"),
    ],
)
def test_what_a_method_refuses_is_told_before_an_image_is_read(
    tiny: Tiny,
    words: list[str],
    backbone: dict[str, Any] | None,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("retdm.runs.build.build_data", None)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    monkeypatch.setattr("retdm.runs.train.together", lambda *_: contextlib.nullcontext())
    settings = tiny(*words)
    with pytest.raises(UserError, match=says):
        train(settings if backbone is None else settings.changed(backbone=backbone))


def test_a_refitted_network_that_decides_by_validation_can_be_evaluated_and_predict(tiny: Tiny) -> None:
    folder = train(tiny("method=asl", "refit=true", "threshold=0.0"))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["threshold"] == 0.0 and metrics["validation"] is None
    rows = np.load(folder / "predictions.npz")
    assert metrics["test"]["O-R"] == 1.0, "everything is scored at least 0"
    done = in_process("test.py", f"run={folder}")
    assert done.code == 0, done.err
    assert json.loads((folder / "test.json").read_text())["test"] == metrics["test"]
    assert retdm.load(folder).labels == rows["labels"].tolist()


def test_a_threshold_of_zero_is_a_threshold_and_none_is_told() -> None:
    rows = {
        "scores": np.array([[0.1, 0.9], [0.2, 0.6]]),
        "target": np.ones((2, 2)),
        "known": np.ones((2, 2), bool),
    }
    method: Any = type("Labelled", (), {"labels": ["a", "b"], "decide": "validation"})()
    assert criteria_of(rows, method, {"rule": "validation", "threshold": 0.0})["criteria"]["O-R"] == 1.0
    with pytest.raises(UserError, match="no threshold"):
        decision_of(method, None, None, "validation")


def test_data_and_cache_are_kept_where_another_folder_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RETDM_DATA", raising=False)
    scene = {"root": None, "cache": "outputs/cache"}
    place(scene, Scene)
    assert (scene["root"], scene["cache"]) == (str(tmp_path / "data"), str(tmp_path / "outputs" / "cache"))
    own = {"root": "photos", "cache": "none"}
    place(own, CsvLabels)
    assert (own["root"], own["cache"]) == (str(tmp_path / "photos"), "none")
    own["root"] = None  # which is told of as not set
    place(own, CsvLabels)
    assert own["root"] is None


def test_a_network_of_timm_is_told_from_others_by_its_name_there(tiny: Tiny) -> None:
    settings = tiny("method=bce")
    assert settings.network == "vgg_small"
    assert settings.folder.name.startswith("vgg_small-0-")
    other = settings.changed(
        choices=settings.choices | {"backbone": "timm"},
        backbone={"_target_": "retdm.backbones.timm_nets.Timm", "name": "a/../b.c_d", "weights": "none"},
    )
    assert other.network == "timm_a_.._b.c_d"
    assert other.folder.name.startswith("timm_a_.._b.c_d-0-")


def test_a_network_that_its_choice_names_bears_no_second_name_unless_the_command_changes_it() -> None:
    small = ["data=synthetic", "data.image_size=112", "backbone=dinov2_small"]
    assert compose_settings(small).network == "dinov2_small"
    other = compose_settings([*small, "backbone.name=vit_tiny_patch16_224"])
    assert other.network == "dinov2_small_vit_tiny_patch16_224"
    assert compose_settings(["data=synthetic", "backbone=timm"]).network == "timm_resnet50d"


def test_a_size_is_looked_at_without_an_image() -> None:
    backbone = VGG16(weights="none", load=False)
    backbone.check_side(224)
    with pytest.raises(UserError, match="images of 16 x 16 are too small"):
        backbone.check_side(16)


def test_crops_of_a_grid_are_the_images_of_a_network_of_one_size(tiny: Tiny) -> None:
    timm = {"_target_": "retdm.backbones.timm_nets.Timm", "name": "test_vit", "weights": "none"}
    settings = tiny("method=abmil", "method.instances=grid", "method.grid=2", "data.image_size=64")
    method = build_method(settings.changed(backbone=timm), ["a", "b"])
    assert method.encoder.backbone.side == 32  # type: ignore[attr-defined]
    settings = tiny("method=abmil", "method.instances=grid", "method.grid=3", "data.image_size=64")
    with pytest.raises(
        UserError, match="reads crops of data.image_size=64: test_vit reads patches of 16 x 16"
    ) as error:
        build_method(settings.changed(backbone=timm), ["a", "b"])
    assert error.value.hint.startswith("method.instances=cells")


def test_on_windows_one_line_says_what_is_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit, match="^error: retdm runs on Linux and macOS; on Windows use WSL"):
        importlib.reload(retdm.runs)
