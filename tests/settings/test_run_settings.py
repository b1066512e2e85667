import functools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import TINY_NET
from composing import composed
from nets import build_backbone

from retdm import backbones
from retdm.backbones import weights_hash
from retdm.commands.train import train
from retdm.settings.compose import compose_settings

# The folder's name


SCENE = ["data=scene", "backbone=vgg_small", "trainer.precision=32-true"]


@functools.cache
def name_of(*overrides: str) -> str:
    return composed(*SCENE, *overrides).folder.name


def test_the_folder_says_data_method_backbone_and_split() -> None:
    folder = compose_settings([*SCENE, "outputs=/runs", "data.split=3", "method=retdm_oneway"]).folder
    assert folder.parent == Path("/runs/scene/retdm_oneway")
    assert folder.name.startswith("vgg_small-3-")
    assert compose_settings([*SCENE, "run=/my/own"]).folder == Path("/my/own")


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.root=/elsewhere"],
        ["data.workers=3"],
        ["data.cache=/fast"],
        ["data.download=true"],
        ["outputs=/elsewhere"],
        ["tags=[mine]"],
        ["overwrite=true"],
        ["per_label=true"],
        ["trainer.devices=2", "trainer.num_nodes=3"],
        ["trainer.accelerator=cpu"],
        ["trainer.checkpoint_steps=7", "trainer.log_every_n_steps=3"],
        ["schedule.end_to_end.lr=0.7"],  # a stage that this method has not
    ],
)
def test_the_name_stays_under_what_changes_no_result(overrides: list[str]) -> None:
    assert name_of(*overrides) == name_of()


def test_a_fitted_method_is_one_run_whether_its_features_are_said_to_be_precomputed_or_not() -> None:
    assert name_of("method=lr", "precompute=true") == name_of("method=lr")
    assert name_of("method=bce", "precompute=true") != name_of("method=bce")


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "data.split=1",
        "data.train_size=100",
        "data.batch_size=32",
        "data.image_size=64",
        "data.on_unreadable=skip",
        "data.group_duplicates=near",
        "augment=light",
        "augment.mixup=0.2",
        "method=bce",
        "method.k=9",
        "method.weights.metric=0.2",
        "schedule.joint.lr=0.7",
        "schedule.joint.max_epochs=0",
        "schedule.joint.rule=plateau",
        "backbone.channels=[32,64,128]",
        "trainer.precision=bf16-mixed",
    ],
)
def test_the_name_changes_with_what_changes_results(override: str) -> None:
    assert name_of(override) != name_of()


def test_the_name_depends_on_the_content_of_the_weights_and_not_on_their_place(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.pt", "b.pt", "c.pt")]
    content = build_backbone({"_target_": "retdm.backbones.vgg.VGGSmall"}).net.state_dict()
    torch.save(content, files[0])
    shutil.copy(files[0], files[1])
    torch.save({name: tensor + 1 for name, tensor in content.items()}, files[2])
    one, copied, other = (name_of(f"backbone.weights={file}") for file in files)
    assert one == copied
    assert len({one, other, name_of()}) == 3


def test_a_users_own_data_is_told_apart_by_its_folder_and_its_labels(tmp_path: Path) -> None:
    def run_folder(root: Path) -> Path:
        return compose_settings(["data=csv", f"data.root={root}", "data.image_size=32"]).folder

    roots = [tmp_path / "a", tmp_path / "b"]
    for root in roots:
        root.mkdir()
        (root / "labels.csv").write_text("image,cat\n1.jpg,1\n2.jpg,0\n")
    first = run_folder(roots[0])
    assert run_folder(roots[0]) == first != run_folder(roots[1])
    (roots[0] / "labels.csv").write_text("image,cat\n1.jpg,1\n2.jpg,1\n")
    assert run_folder(roots[0]) != first


def test_a_run_hashes_its_weights_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(*arguments: Any) -> str:
        calls.append("weights")
        return weights_hash(*arguments)

    monkeypatch.setattr(backbones, "weights_hash", counted)
    train(compose_settings([*TINY_NET, "data.size=60", "method=bce", f"outputs={tmp_path}"]))
    assert calls == ["weights"]
