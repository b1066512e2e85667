"""What a user can get wrong: one message that names it, of at most six lines, and nothing that looks done."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import TINY, TINY_NET, Done, Refused, check_message, in_a_run, in_process
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from makers import make_scene, write_scene_targets
from omegaconf import DictConfig, OmegaConf

from retdm import registry
from retdm.commands.guard import guarded
from retdm.commands.train import train
from retdm.data.sets.scene import Scene
from retdm.settings.compose import register_resolvers, settings_of

# Names


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("method=retdn", "there is no method named retdn; did you mean retdm?"),
        ("data=scen", "there is no data named scen; did you mean scene?"),
        ("backbone=vgg15", "there is no backbone named vgg15; did you mean vgg16?"),
        ("experiment=scene_retdn", "there is no experiment named scene_retdn; did you mean scene_retdm?"),
        ("schedule=shrt", "there is no schedule named shrt; did you mean short?"),
        ("mehtod=bce", "mehtod is not a setting; did you mean method?"),
        ("method.wieghts.metric=1", "method.wieghts is not a setting; did you mean weights?"),
        ("method.weights.metrik=1", "method.weights.metrik is not a setting; did you mean metric?"),
        ("trainer.devises=2", "trainer.devises is not a setting; did you mean devices?"),
        ("backbone.weights=imagnet", "unknown weights 'imagnet'"),
        ("~trainer.devices", "trainer.devices is not set"),
        ("method.k", "method.k: a setting is written <key>=<value>"),
    ],
)
def test_a_name_that_does_not_exist_is_named_with_the_nearest_that_does(
    refused: Refused, argument: str, says: str
) -> None:
    assert says in "; ".join(line.strip() for line in refused(argument).splitlines())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train.py", "--epochs=3"), "unrecognized arguments: --epochs=3"),
        (("train.py", "--cfg", "jobs"), "invalid choice: 'jobs'"),
        (("train.py", "--resolve"), "--resolve alone"),
        (("test.py", "-m", "run=a,b"), "test works on one run at a time"),
        (("predict", "--multirun", "run=a"), "predict works on one run at a time"),
    ],
)
def test_a_flag_that_does_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in check_message(in_process(*words))
    assert not list(tmp_path.iterdir())


# Values


@pytest.fixture(scope="module")
def tiny_config(cache: Path) -> DictConfig:
    """The settings of a tiny run as Hydra composes them; composing them anew for each value would take most time."""
    register_resolvers()
    with initialize_config_dir(str(registry.CONF), version_base="1.3"):
        config = compose("train", [*TINY, f"data.cache={cache}"], return_hydra_config=True)
    OmegaConf.set_struct(config, False)
    OmegaConf.set_readonly(config, False)
    return config


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("overwrite=maybe", "overwrite=maybe is not true or false"),
        ("method.k=2.5", "method.k=2.5 is not a whole number"),
        ("method.k=0", "method.k=0 is not a whole number of at least 1"),
        ("method.k=-3", "method.k=-3 is not a whole number of at least 1"),
        ("method.temperature=0", "method.temperature=0 is not a number above 0"),
        ("method.temperature=inf", "method.temperature=inf is not a number"),
        ("method.weights.metric=x", "method.weights.metric=x is not a number"),
        ("method.weights.metric=-1", "method.weights.metric=-1 is not a number of at least 0"),
        ("method.decide=hlaf", "method.decide=hlaf is not known\n  did you mean half?"),
        ("backbone.channels=8", "backbone.channels=8 is not a list"),
        ("data.split=x", "data.split=x is not a whole number"),
        ("data.split=-1", "data.split=-1 is not a whole number of at least 0"),
        ("data.batch_size=1", "data.batch_size=1 is not a whole number of at least 2"),
        ("data.image_size=x", "data.image_size=x is not a whole number"),
        ("data.test_fraction=0", "data.test_fraction=0 is not a number above 0 to below 1"),
        ("data.test_fraction=1", "data.test_fraction=1 is not a number above 0 to below 1"),
        ("data.size=3", "the validation split would be empty"),
        ("data.train_size=1000", "data.train_size=1000, but there are 43 training images"),
        ("schedule.joint.lr=-1", "schedule.joint.lr=-1 is not a number above 0"),
        ("schedule.joint.lr=nan", "schedule.joint.lr=nan is not a number"),
        ("schedule.joint.rule=onecycle", "schedule.joint.rule=onecycle is not one of plateau, one_cycle, constant"),
        ("schedule.joint.max_epochs=1.5", "schedule.joint.max_epochs=1.5 is not a whole number"),
        ("trainer.devices=0", "trainer.devices=0 is out of range"),
        ("trainer.devices=[0,1]", "trainer.devices=[0, 1] lists GPUs, and this run is on the CPU"),
    ],
)
def test_a_value_that_cannot_be_is_refused_before_training(
    tiny_config: DictConfig, tmp_path: Path, argument: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config, choices = tiny_config.copy(), dict(tiny_config.hydra.runtime.choices)
    override = OverridesParser.create().parse_override(argument)
    OmegaConf.update(config, override.key_or_group, override.value(), force_add=True)
    config.outputs = str(tmp_path)
    del config.hydra
    with pytest.raises(SystemExit) as ended, in_a_run():
        guarded(lambda: print(train(settings_of(config, choices))))
    out, err = capsys.readouterr()
    assert says in check_message(Done(int(str(ended.value.code)), out, err))
    assert not list(tmp_path.rglob("*.ckpt")), "refused only after training had begun"


def test_a_gpu_that_is_not_there_is_said_to_be_absent(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "there is no GPU that PyTorch can use" in refused("trainer.accelerator=gpu")


def test_all_losses_switched_off_are_told_with_the_stage(tmp_path: Path, cache: Path) -> None:
    off = ("method.weights.metric=0", "method.weights.reconstruction=0", "schedule.classification.max_epochs=0")
    done = in_process("train.py", f"outputs={tmp_path}", f"data.cache={cache}", *TINY, *off)
    assert "stage label_embedding has nothing to train" in check_message(done)


# Data

SCENE = (*TINY_NET, "backbone=vgg_small", "data=scene", "data.batch_size=4")


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small set in the layout of Scene; the folder that holds its images."""
    monkeypatch.setattr(Scene, "counts", make_scene(tmp_path / "data"))
    return tmp_path / "data" / "scene" / "original"


def cut_in_half(images: Path) -> None:
    content = (images / "3.jpg").read_bytes()
    (images / "3.jpg").write_bytes(content[: len(content) // 2])


def text_for_an_image(images: Path) -> None:
    (images / "3.jpg").write_text("not an image")


def two_empty_files(images: Path) -> None:
    for name in ("3.jpg", "5.jpg"):
        (images / name).write_bytes(b"")


def no_third_image(images: Path) -> None:
    (images / "3.jpg").unlink()


def labels_of_one_image_less(images: Path) -> None:
    write_scene_targets(images.parent / "processed" / "miml data.mat", np.where(np.eye(11, 5), 1, -1))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut_in_half, "scene/original/3.jpg cannot be read as an image: "),
        (text_for_an_image, "scene/original/3.jpg cannot be read as an image: "),
        (two_empty_files, "2 of 12 images cannot be read (2 empty); the first: "),
        (no_third_image, "has 11 images, expected 12 (1.jpg to 12.jpg); first missing: 3.jpg"),
        (labels_of_one_image_less, "miml data.mat: targets are 5 x 11, expected 5 x 12"),
    ],
)
def test_damaged_data_is_told_with_its_file(
    refused: Refused, scene: Path, damage: Callable[[Path], None], says: str
) -> None:
    damage(scene)
    assert says in refused(f"data.root={scene.parents[1]}", base=SCENE)


def test_data_that_is_not_there_is_told_with_where_it_was_looked_for_and_how_to_get_it(
    refused: Refused, tmp_path: Path
) -> None:
    message = refused(f"data.root={tmp_path / 'nowhere'}", base=SCENE)
    assert str(tmp_path / "nowhere" / "scene") in message
    assert "data.download=true" in message


# Places and disks


@pytest.mark.parametrize("key", ["outputs", "run"])
def test_a_folder_without_a_name_is_refused(refused: Refused, key: str) -> None:
    assert f"{key}= names no folder" in refused(f"{key}=")


@pytest.mark.parametrize("key", ["outputs", "run", "data.cache"])
def test_a_place_under_a_file_is_no_place(tmp_path: Path, cache: Path, key: str) -> None:
    (tmp_path / "file").write_text("")
    places = {"outputs": tmp_path / "out", "data.cache": cache} | {key: tmp_path / "file" / "x"}
    done = in_process("train.py", *(f"{name}={place}" for name, place in places.items()), *TINY)
    message = check_message(done)
    assert f"{tmp_path / 'file' / 'x'}" in message
    assert "Not a directory" in message


def test_a_folder_that_may_not_be_written_is_told_with_its_reason(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def mkdir(path: Path, *args: object, **kwargs: object) -> None:  # who is root may write everywhere
        if tmp_path / "out" in path.parents:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        make(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert "Read-only file system" in refused()


def test_a_full_disk_ends_in_a_message_and_the_run_goes_on_when_there_is_room_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, command = tmp_path / "run", ("train.py", f"run={tmp_path / 'run'}", f"data.cache={cache}", *TINY)
    saved, save = [], torch.save

    def full_at_the_third(*args: object, **kwargs: object) -> None:
        saved.append(args)
        if len(saved) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(*args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full_at_the_third)
        message = check_message(in_process(*command))
    assert "No space left on device" in message
    assert "make room" in message
    assert (run / "error.txt").read_text() in message.replace("error: ", "").replace("\n  ", "\n")
    assert (run / "checkpoints" / "last.ckpt").exists()
    assert not (run / "metrics.json").exists()
    done = in_process(*command)
    assert done.code == 0, done.err
    assert "continuing at epoch 2, batch 1, stage label_embedding" in done.out
    assert (run / "metrics.json").exists()
    assert not (run / "error.txt").exists()


# What only PyTorch's classes can tell; tests/test_wheel.py types it in a process of its own


def test_a_refused_command_leaves_its_message_in_the_run_folder(tmp_path: Path) -> None:
    done = in_process("train.py", *TINY, "+method.weights.metrik=1", f"outputs={tmp_path / 'outputs'}")
    assert check_message(done) == (
        "error: method.weights.metrik: there is no such loss\n  losses: classification, metric, reconstruction\n"
    )
    (error,) = tmp_path.glob("outputs/synthetic/retdm/*/error.txt")
    assert error.read_text().splitlines() == [
        "method.weights.metrik: there is no such loss",
        "losses: classification, metric, reconstruction",
    ]
