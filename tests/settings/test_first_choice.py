"""What suits the data that a command names is chosen where the command says nothing, and nowhere else."""

import logging
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from retdm.registry import CONF
from retdm.settings import first_choice
from retdm.settings.compose import compose_settings
from retdm.settings.first_choice import kind_of_data, unnamed

GROUPS = ("backbone", "method", "schedule", "optimizer")
PHOTOGRAPHS = ["mobilenet_v2", first_choice.FIRST["photographs"]["method"], "fine_tune", "adamw"]


def chosen(*words: str) -> list[str]:
    GlobalHydra.instance().clear()
    choices = compose_settings(list(words)).choices
    return [choices[group] for group in GROUPS]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of four images, which nobody has to read, and two tables of their labels."""
    for i in range(4):
        (tmp_path / f"{i}.jpg").touch()
    (tmp_path / "labels.csv").write_text("image,labels\n" + "".join(f"{i}.jpg,cat;dog\n" for i in range(4)))
    (tmp_path / "lines.csv").write_text("image,label\n" + "".join(f"{i}.jpg,{a}\n" for i in range(4) for a in "abc"))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", ["vgg_small", "retdm", "from_scratch", "sgd"]),
        ("data=synthetic", ["vgg_small", "retdm", "from_scratch", "sgd"]),
        ("data=csv", PHOTOGRAPHS),
        ("data=coco_json", PHOTOGRAPHS),
        ("data=scene", PHOTOGRAPHS),
        ("data=bags", ["none", "emd_svm", "bags", "sgd"]),
        ("data=csv method=asl", ["mobilenet_v2", "asl", "fine_tune", "adamw"]),
        ("data=csv backbone=resnet50", ["resnet50", *PHOTOGRAPHS[1:]]),
        ("data=csv backbone=vgg_small", ["vgg_small", PHOTOGRAPHS[1], "from_scratch", "sgd"]),
        ("data=csv schedule=paper", [*PHOTOGRAPHS[:2], "paper", "sgd"]),
        ("data=csv optimizer=sgd", [*PHOTOGRAPHS[:3], "sgd"]),
        ("data=csv backbone=vgg_small schedule=fine_tune", ["vgg_small", PHOTOGRAPHS[1], "fine_tune", "adamw"]),
        ("schedule=adamw", ["vgg_small", "retdm", "adamw", "adamw"]),
        ("experiment=scene", ["vgg16", "retdm", "fine_tune", "adamw"]),
        ("experiment=scene data=csv method=bce", ["vgg16", "bce", "fine_tune", "adamw"]),
    ],
)
def test_what_is_named_stays_and_the_rest_suits_it(words: str, expected: list[str]) -> None:
    assert chosen(*words.split()) == expected


def test_a_recipe_of_the_users_own_leaves_to_the_program_what_it_does_not_name(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    recipe = "# @package _global_\ndefaults: [override /data: csv, override /method: bce]\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(recipe)
    found = chosen(f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
    assert found == ["mobilenet_v2", "bce", "fine_tune", "adamw"]


@pytest.mark.parametrize("data", sorted(file.stem for file in (CONF / "data").glob("*.yaml")))
def test_only_sets_that_the_program_draws_are_drawn_and_only_sets_of_bags_are_bags(data: str) -> None:
    kind = "bags" if data.endswith("bags") else "drawn images" if data == "synthetic" else "photographs"
    assert kind_of_data(data) == kind


def test_a_set_that_is_not_there_is_treated_as_photographs_until_it_is_refused() -> None:
    assert kind_of_data("no_such_set") == "photographs"


def test_the_image_size_follows_the_number_of_images_on_a_cpu_and_the_command_has_the_last_word(
    photos: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "retdm")

    def size(*words: str) -> int:
        fixed = ["data=csv", f"data.root={photos}", "trainer.precision=32-true"]
        return int(compose_settings([*fixed, *words]).data["image_size"])

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(first_choice, "MANY", 4)
    assert size() == size("data.labels=lines.csv") == 224  # twelve lines, but four images
    monkeypatch.setattr(first_choice, "MANY", 3)
    assert size() == size("data.labels=lines.csv") == 128
    assert size("data.image_size=224") == 224
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert size() == 224
    assert size("trainer.accelerator=cpu") == 128
    assert not caplog.records, "what is to be said about the file is said once, in training"


def test_a_file_that_is_not_there_is_told_where_the_run_is_named(tmp_path: Path) -> None:
    assert compose_settings(["data=csv"]).data["image_size"] == 224
    assert compose_settings(["data=csv", f"data.root={tmp_path}"]).data["image_size"] == 224


def test_the_same_command_finds_its_run_before_and_after_the_weights_are_downloaded(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    words = ["data=csv", f"data.root={photos}"]
    before = compose_settings(words)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "mobilenet_v2-b0353104.pth").write_text("weights")
    after = compose_settings(words)
    assert before.folder == after.folder and before.identity == after.identity


def test_what_was_chosen_may_be_written_and_is_the_same_run(photos: Path) -> None:
    words = ["data=csv", f"data.root={photos}"]
    left_out = compose_settings(words)
    found = unnamed(left_out)
    assert found == [
        "backbone=mobilenet_v2", f"method={PHOTOGRAPHS[1]}", "schedule=fine_tune", "data.image_size=224",
    ]  # fmt: skip
    written = compose_settings([*words, *found])
    assert written.folder == left_out.folder
    assert unnamed(written) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("method=bce backbone=resnet50", ["schedule=fine_tune", "data.image_size=224"]),
        ("method=lr", ["backbone=mobilenet_v2", "data.image_size=224"]),
        ("experiment=scene", []),
    ],
)
def test_what_is_told_is_what_the_command_left_open(photos: Path, words: str, expected: list[str]) -> None:
    assert unnamed(compose_settings(["data=csv", f"data.root={photos}", *words.split()])) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", []),
        ("data=synthetic", []),
        ("data=synthetic_bags", ["method=emd_svm"]),
        ("data=scene method=bce", ["backbone=mobilenet_v2", "schedule=fine_tune"]),
    ],
)
def test_of_drawn_images_nothing_is_told_and_of_published_sets_no_size(words: str, expected: list[str]) -> None:
    assert unnamed(compose_settings(words.split())) == expected
