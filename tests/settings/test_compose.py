from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from quick_hydra import plain_hydra

from retdm.batch import BagBatch
from retdm.errors import UserError
from retdm.registry import CONF, resolve
from retdm.runs.build import check_takes
from retdm.settings.compose import compose_settings

GROUPS = ("method", "data", "backbone", "schedule", "trainer", "experiment")


def choices(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


# What can be chosen


@pytest.mark.parametrize("method", choices("method"))
def test_every_method_composes_with_each_stage_complete_and_every_schedule_knows_its_stages(method: str) -> None:
    found = compose_settings([f"method={method}", "schedule=short"])
    assert issubclass(resolve(found.method["_target_"]), torch.nn.Module)
    assert found.choices["method"] == method
    assert "schedule" not in found.as_dict()
    stages = {stage["name"]: stage for stage in found.method.get("stages", [])}
    for schedule in choices("schedule"):
        lengths = yaml.safe_load((CONF / "schedule" / f"{schedule}.yaml").read_text())
        if "defaults" in lengths and schedule != "fine_tune":  # it changes another schedule
            continue
        lengths = lengths.get("schedule", lengths)
        for name, stage in stages.items():
            assert {"lr", "rule", "max_epochs"} <= set(lengths[name])
            assert {"name", "train", "losses", "lr", "max_epochs", "rule"} <= set(stage)
            assert schedule != "short" or all(stage[key] == value for key, value in lengths[name].items())


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_composes_with_its_own_method_with_those_it_sweeps_and_with_another(experiment: str) -> None:
    own = compose_settings([f"experiment={experiment}"])
    content = yaml.safe_load((CONF / "experiment" / f"{experiment}.yaml").read_text())
    swept = content.get("hydra", {}).get("sweeper", {}).get("params", {}).get("method", "")
    of_images = own.classes["data"].gives is not BagBatch
    check_takes(own)
    others = {*filter(None, swept.split(",")), "retdm" if of_images else "mil"} - {own.choices["method"]}
    for method in sorted(others):
        found = compose_settings([f"experiment={experiment}", f"method={method}"])
        assert found.choices == own.choices | {"method": method}
        check_takes(found)


@pytest.mark.parametrize("group", ["data", "augment", "backbone", "optimizer", "trainer"])
def test_every_other_choice_composes(group: str) -> None:
    sized = ["data.image_size=112"] if group == "backbone" else []  # whole patches of 14 and of 16
    for name in choices(group):
        settings = compose_settings([f"{group}={name}", *sized])
        assert settings.choices[group] == name
        assert (settings.choices["backbone"] == "none") == (settings.classes["data"].gives is BagBatch)


def test_what_tests_keep_of_a_composition_changes_no_other() -> None:
    chosen = ["experiment=smoke", "method=bce", "schedule=fine_tune", "augment=light", "~trainer.accelerator"]
    values = ["+schedule.end_to_end.warmup=0.2", "data.image_size=56", "augment.mixup=0.3", "seed=3"]

    def composition(*words: str) -> Any:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return OmegaConf.to_container(compose("train", list(words), return_hydra_config=True))

    first = composition(*chosen, *values)
    second = composition(*chosen)
    assert first == composition(*chosen, *values) != second == composition(*chosen)
    with plain_hydra():
        assert first == composition(*chosen, *values)
        assert second == composition(*chosen)


def test_the_cached_side_follows_the_image_size() -> None:
    assert compose_settings(["data=synthetic", "data.image_size=56"]).data["side"] == 64


def test_the_cache_lies_under_outputs_unless_it_is_said() -> None:
    assert compose_settings(["outputs=/somewhere"]).data["cache"] == "/somewhere/cache"
    assert compose_settings(["outputs=/somewhere", "data.cache=/fast"]).data["cache"] == "/fast"


def test_an_experiment_may_set_what_belongs_to_the_run_and_the_command_has_the_last_word() -> None:
    assert compose_settings(["experiment=scene_vgg", "method=lr"]).refit is True
    assert compose_settings(["experiment=scene_vgg", "method=lr", "refit=false"]).refit is False


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("data=synthetic_bags method=mil precompute=true", "precompute=true: data=synthetic_bags gives bags"),
        ("method=asl threshold=0.5", "threshold=0.5 is of refit=true alone"),
        ("method=lr optimizer=adamw", "optimizer=adamw: method=lr is fitted, without an optimizer"),
        ("method=lr optimizer.momentum=0.8", "optimizer.momentum=0.8: method=lr is fitted"),
        ("method=bce +schedule.end_to_end.patience=3", "patience is of rule=plateau, and the stage has one_cycle"),
        ("schedule=paper schedule.joint.patience=3 schedule.joint.rule=constant", "and the stage has constant"),
        ("logger=[csv,none]", "several names for logger: a run has one"),
        ("method=[bce,retdm]", "several names for method: a run has one"),
        ("method=bce precompute=true augment=strong", "augment=strong: precompute=true trains"),
        ("method=bce precompute=true method.layer_decay=0.5", "method.layer_decay=0.5: precompute=true trains on feat"),
        ("method=bce schedule=quick augment=light", "augment=light: schedule=quick trains on features of whole images"),
        ("method=lr augment.mixup=0.2", "augment.mixup=0.2: method=lr is fitted"),
        ("method=bce schedule=quick schedule.ema=0.9", "schedule.ema=0.9: no stage goes on from the start"),
        ("method=retdm schedule=quick schedule.average=0.5", "schedule.average=0.5: no stage goes on from the start"),
        ("data=synthetic_bags method=mil augment=light", "augment=light: data=synthetic_bags gives"),
    ],
)
def test_a_setting_without_effect_is_refused(words: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        compose_settings(words.split())


@pytest.mark.parametrize(
    "words",
    [
        "schedule=paper schedule.joint.patience=3",
        "+schedule.joint.patience=3 schedule.joint.rule=plateau",
        "schedule=paper schedule.joint.rule=one_cycle",  # the patience is the file's
        "method=lr",  # the optimizer is the default
        "experiment=[scene,smoke]",
    ],
)
def test_a_setting_that_nobody_typed_is_not_refused(words: str) -> None:
    compose_settings(words.split())


@pytest.mark.parametrize(
    "words", ["method=bce precompute=true", "method=bce schedule=quick", "method=lr", "data=synthetic_bags method=mil"]
)
def test_a_run_without_training_images_has_no_augmentation(words: str) -> None:
    assert compose_settings(words.split()).augment == {}


def test_a_run_that_ends_at_its_start_averages_nothing() -> None:
    words = ["method=retdm", "schedule=fine_tune", "schedule.joint.max_epochs=0"]
    assert (compose_settings(words).average, compose_settings(words[:2]).average) == (0, 0.5)


def test_a_weight_of_the_metric_is_reported_as_it_was_written() -> None:
    with pytest.raises(UserError, match=r"^schedule\.metric_weight=-1 is not a number of at least 0"):
        compose_settings(["method=retdm", "schedule=fine_tune", "schedule.metric_weight=-1"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("augment.mixup=-1", r"augment\.mixup=-1 is not a number of at least 0"),
        ("augment=light augment.scale=0", r"augment\.scale=0 is not a number above 0 to 1"),
    ],
)
def test_an_augmentation_that_cannot_be_is_refused(words: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        compose_settings(words.split())


def test_the_papers_schedule_has_the_papers_batch_crops_and_rates() -> None:
    settings = compose_settings(["schedule=paper", "data=scene", "data.root=/"])
    assert settings.data["batch_size"] == 256
    assert settings.choices["augment"] == "crops" and not settings.augment["mixup"]
    assert compose_settings(["schedule=paper", "augment=light"]).choices["augment"] == "light"
    stages = settings.method["stages"]
    assert [stage["name"] for stage in stages] == ["classification", "label_embedding", "joint"]
    assert all(stage["lr"] == 0.1 and stage["rule"] == "plateau" for stage in stages)  # a tenth of it is the floor
    assert compose_settings(["schedule=paper", "data.batch_size=32"]).data["batch_size"] == 32
    assert compose_settings([]).data["batch_size"] != 256
