"""The command of a newcomer: data of one's own, and no other word."""

import re
import shlex
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from command_line import check_message, in_process
from torchvision import models

from retdm.commands import train
from retdm.data.synthetic.source import Synthetic
from retdm.errors import UserError
from retdm.settings.run_settings import RunSettings

# A network of full size on small images, for one epoch.
SMALL = (
    "data.image_size=32",
    "schedule.joint.max_epochs=1",
    "schedule.end_to_end.max_epochs=1",
    "schedule.joint.min_steps=0",
    "schedule.end_to_end.min_steps=0",
    "schedule.label_embedding.min_steps=1",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images with their table of labels."""
    folder = tmp_path_factory.mktemp("my photos")
    source = Synthetic(40, side=48)
    lines = [",".join(["image", *source.names])]
    for i in range(40):
        source.read(i).save(folder / f"{i}.png")
        lines.append(",".join([f"{i}.png", *map(str, source.targets[i])]))
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def words(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command, with the weights as a file."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    torch.save(models.mobilenet_v2().state_dict(), folder / "weights.pt")
    return ["data=csv", f"data.root={photos}", f"outputs={folder}", f"backbone.weights={folder / 'weights.pt'}", *SMALL]


@pytest.fixture(scope="module")
def said(words: list[str]) -> list[str]:
    """The lines that the command prints."""
    done = in_process("train.py", *words)
    assert done.code == 0, done.err
    return done.out.splitlines()


def test_it_says_what_it_chose_and_why(said: list[str]) -> None:
    (line,) = [line for line in said if line.startswith("chosen for ")]
    assert line.startswith("chosen for 40 photographs and 5 labels: backbone=mobilenet_v2 method=")
    assert "schedule=fine_tune: what measured best on photographs" in line


def test_it_begins_at_a_probe_and_warns_of_no_few_steps(said: list[str]) -> None:
    text = "\n".join(said)
    assert "probe: " in text and "optimizer steps" not in text


def test_it_ends_with_commands_to_try_and_each_works(
    said: list[str], words: list[str], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = next(number for number, line in enumerate(said) if line.startswith("next "))
    commands = [shlex.split(re.split(" {3}# ", line)[0].removeprefix("next")) for line in said[start:-1]]
    training = ["retdm", "train"]
    assert [command[:2] for command in commands] == [["retdm", "predict"], training, training]
    assert said[-1].startswith("retdm test run=")

    predict, folds, longer = commands
    done = in_process("predict", *(word.replace("<folder>", f"'{photos}'") for word in predict[2:]))
    assert done.code == 0, done.err
    given: list[RunSettings] = []
    monkeypatch.setattr(train, "train", lambda settings, **_: given.append(settings) or refuse())
    in_process("train.py", *folds[2:])
    in_process("train.py", *longer[2:])
    assert [settings.data["fold"] for settings in given] == [0, 1, 2, 3, 4, 0]
    assert [settings.choices["schedule"] for settings in given] == [*["fine_tune"] * 5, "best"]


def refuse() -> Any:
    raise UserError("seen")


def test_the_same_command_finds_its_run(said: list[str], words: list[str]) -> None:
    done = in_process("train.py", *words)
    assert done.code == 0 and "\nfinished already: " in done.out
    assert done.out.splitlines()[-1] == said[-1]


def test_each_job_of_a_sweep_has_its_own_choice(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[RunSettings] = []
    monkeypatch.setattr(train, "train", lambda settings, **_: given.append(settings) or refuse())
    in_process("train.py", "-m", "data=scene,synthetic,scene_bags", f"outputs={tmp_path}")
    found = [(each.choices["backbone"], each.choices["schedule"]) for each in given]
    assert found == [("mobilenet_v2", "fine_tune"), ("vgg_small", "from_scratch"), ("none", "bags")]


def test_cfg_job_shows_the_choice(words: list[str]) -> None:
    done = in_process("train.py", *words, "--cfg", "job")
    assert "_target_: retdm.backbones.mobilenet.MobileNetV2" in done.out
    assert "_target_: retdm.training.optimizers.AdamW" in done.out


def test_without_a_network_it_says_which_file_goes_where(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*arguments: object, **named: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    message = check_message(in_process("train.py", "data=csv", f"data.root={photos}", f"outputs={tmp_path}"))
    assert len(message.splitlines()) == 2
    assert f"put it at {tmp_path / 'hub' / 'checkpoints' / 'mobilenet_v2-b0353104.pth'}" in message
    assert "backbone.weights=<path of the file>; backbone=vgg_small needs no weights" in message
