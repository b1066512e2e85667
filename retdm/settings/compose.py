"""From the YAML files and the command line to the checked settings of a run."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from retdm import registry
from retdm.batch import BagBatch
from retdm.data.observe import observation_of
from retdm.data.source import data_root
from retdm.decisions.rules import check_goes_with, rule_of
from retdm.errors import UserError
from retdm.methods.stage import START
from retdm.ranges import AtLeast
from retdm.settings.checks import RUN, STAGE, check_folders, check_groups, check_keys, without
from retdm.settings.classes import class_of, resolve_classes
from retdm.settings.declared import is_ours, parameters_of
from retdm.settings.first_choice import register_resolvers, size_images
from retdm.settings.plain import where_written
from retdm.settings.renamed import refuse_renamed
from retdm.settings.run_settings import RunSettings
from retdm.settings.timm_names import check_timm

CLASSES = ("data", "method", "augment", "backbone", "optimizer", "logger")  # groups whose _target_ names a class
GROUPS = ("data", "augment", "backbone", "method", "optimizer", "schedule", "trainer", "logger", "experiment")

METRIC_WEIGHT = {"metric_weight": Annotated[float, AtLeast(0)]}  # of a schedule, read by conf/method/retdm.yaml


def compose_settings(overrides: list[str]) -> RunSettings:
    """The settings that ``retdm train <overrides>`` would have."""
    register_resolvers()
    with initialize_config_dir(str(registry.CONF), version_base="1.3"):
        config = compose("train", overrides, return_hydra_config=True)
        choices = dict(config.hydra.runtime.choices)
        without_hydra = {key: value for key, value in config.items_ex(resolve=False) if key != "hydra"}
        return settings_of(OmegaConf.create(without_hydra), choices, overrides)


def settings_of(config: DictConfig, chosen: Mapping[str, Any], typed: Sequence[str] = ()) -> RunSettings:
    """Checked and complete settings of one run.

    Args:
        config: as Hydra composes it.
        chosen: group -> name of its YAML file.
        typed: the words of the command.

    Raises:
        UserError: a key is unknown (with file and nearest name), a value cannot be, or a word has no effect.
    """
    content, choices = checked(config, chosen, typed)
    from retdm.settings.devices import precision  # brings PyTorch, as the classes do

    classes = resolve_classes(content, CLASSES)
    check_groups(content, classes, choices)
    place(content["data"], classes["data"])
    trainer = content["trainer"]
    size_images(content["data"], classes["data"], trainer["accelerator"])
    check_timm(content["backbone"], content["data"], choices)
    trainer["precision"] = precision(trainer["precision"], trainer["accelerator"])
    return RunSettings(**content, choices=choices, classes=classes, typed=tuple(typed))


def checked(
    config: DictConfig, chosen: Mapping[str, Any], typed: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """What :func:`settings_of` finds wrong before PyTorch is imported, which takes seconds: almost everything.

    Left to be checked are classes of the user's own, and what the parts of a method take.

    Returns:
        The settings as plain values, with those of the schedule in the method's stages, and group -> name of its YAML
        file.
    """
    content: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    for group in sorted(content.keys() & set(GROUPS) - chosen.keys()):  # Hydra records no list of names
        hint = f"{group}=<name>; as several runs: -m {group}=<a>,<b>"
        raise UserError(f"several names for {group}: a run has one", hint)
    check_folders(content)
    choices = {group: str(chosen[group]) for group in GROUPS if chosen.get(group) is not None}
    refuse_renamed(content, RUN, choices)
    check_keys("", content, RUN, choices, "a run", complete=True)
    cache_folder(content["data"], content["outputs"])
    data, method = class_of("data", content["data"]), content["method"]
    if data.gives is BagBatch:
        content["backbone"], choices["backbone"] = {}, "none"
        if content["precompute"]:
            raise UserError(
                f"precompute=true: data={choices['data']} gives bags of features, which no backbone computes",
                "leave precompute=true out",
            )
    if "stages" not in method:  # it is fitted, on features of a frozen backbone
        content["optimizer"], content["precompute"] = {}, False
    if content["threshold"] is not None and not content["refit"]:
        raise UserError(
            f"threshold={content['threshold']} is of refit=true alone: without it the run chooses one on validation",
            "leave it out, or refit=true",
        )
    shared = {key: content["schedule"][key] for key in METRIC_WEIGHT if key in content["schedule"]}
    check_keys("schedule", shared, METRIC_WEIGHT, choices, "a schedule")  # as it is called there: a method has taken it
    named = {group: content[group].get("_target_") for group in CLASSES}
    check_groups(content, {group: name for group, name in named.items() if is_ours(name)} | {"data": data}, choices)
    check_timm(content["backbone"], content["data"], choices)
    if (rule := method.get("decide")) is not None:
        try:
            method["decide"] = rule_of(rule).name
        except UserError as error:
            where = where_written("method.decide", choices, rule)
            raise UserError(f"{where}method.decide={rule} is not known", error.hint) from error
        check_goes_with(rule_of(rule), method.get("calibrate"))
    if (observe := content["data"].get("observe")) is not None:
        content["data"]["observe"] = observation_of(str(observe)).name
    content |= _set_stages(method, content.pop("schedule"), choices)
    if unseen := _why_no_image_is_trained_on(content, data, choices):
        content["augment"] = {}
    _refuse_idle(typed, method, choices, unseen)
    if content["start"] == "probe" and data.gives is BagBatch:
        raise UserError(
            f"schedule.start=probe: data={choices['data']} gives bags of features, which no backbone computes",
            "schedule=bags",
        )
    return content, choices


def _why_no_image_is_trained_on(content: Mapping[str, Any], data: Any, choices: Mapping[str, str]) -> str | None:
    """The reason for which a run has no image to augment; None where it trains on images. ``data`` is its class."""
    if data.gives is BagBatch:
        return f"data={choices['data']} gives bags of features"
    if "stages" not in content["method"]:
        return f"method={choices['method']} is fitted to features of whole images"
    if content["precompute"]:
        return "precompute=true trains on features of whole images"
    if not _stages_on_images(content["method"]["stages"]):
        return f"schedule={choices['schedule']} trains on features of whole images"
    return None


def cache_folder(data: dict[str, Any], outputs: str) -> None:
    """Put the image cache under ``outputs`` where no other place is named."""
    if data.get("cache", "") is None:
        data["cache"] = str(Path(outputs) / "cache")


def place(data: dict[str, Any], kind: Any) -> None:
    """Make the places of data and cache absolute, so that another command finds them from another folder.

    Args:
        data: settings of the group.
        kind: its class.
    """
    given = data.get("root")
    if "root" in parameters_of(kind) and (given is not None or not kind.user_settings):
        data["root"] = str(data_root(given).absolute())
    if data.get("cache", "none") != "none":
        data["cache"] = str(Path(data["cache"]).absolute())


def _set_stages(method: dict[str, Any], schedule: dict[str, Any], choices: dict[str, str]) -> dict[str, Any]:
    """Give each stage of the method its rate and length out of the schedule, every key of which is checked.

    Returns:
        ``start``, ``average`` and ``ema`` of the schedule, or their defaults, as for every fitted method.
    """
    stages = method.get("stages", [])
    names = _stage_names() | {str(stage.get("name")) for stage in stages}
    kinds = START | METRIC_WEIGHT | dict.fromkeys(names, dict[str, Any])
    check_keys("schedule", schedule, kinds, choices, f"schedule {choices.get('schedule')}")
    schedule.pop("metric_weight", None)
    stage_keys = without(STAGE, "name", "train", "losses")
    given = {key: schedule.pop(key) for key in START if key in schedule}
    for name, lengths in schedule.items():
        check_keys(f"schedule.{name}", lengths, stage_keys, choices, "a stage")
    start = {"start": "random", "average": 0.0, "ema": 0.0}
    if "stages" not in method:
        return start
    start |= given
    method["stages"] = [{**stage, **schedule.get(stage.get("name"), {})} for stage in stages]
    if start["start"] != "probe":
        for stage in method["stages"]:
            if stage.get("inputs") == "features" and stage.get("max_epochs"):
                raise UserError(
                    f"schedule.{stage['name']}.inputs=features: features are extracted for a probe alone",
                    f"schedule.start=probe, or schedule.{stage['name']}.inputs=images",
                )
        if all(stage.get("max_epochs") == 0 for stage in method["stages"]):
            raise UserError("no stage has an epoch to train", "set schedule.<stage>.max_epochs above 0")
        if start["average"]:
            raise UserError(
                f"schedule.average={start['average']}: weights that no probe set are no part of what is tested",
                "schedule.start=probe, or schedule.average=0",
            )
    return start if _stages_on_images(method["stages"]) else start | {"average": 0.0, "ema": 0.0}


def _stages_on_images(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that go on from the start, by images or, where the backbone is frozen, by their features."""
    return [stage for stage in stages if stage.get("max_epochs", 1) and stage.get("inputs") != "features"]


def _refuse_idle(typed: Sequence[str], method: dict[str, Any], choices: dict[str, str], unseen: str | None) -> None:
    """Raise ``UserError`` for a word of the command that changes nothing about how the method is trained; ``unseen`` is
    the reason for which images are not augmented."""
    words = {word.lstrip("+~").partition("=")[0]: word for word in typed}
    if "stages" not in method:
        for key, word in words.items():
            if key.partition(".")[0] == "optimizer":
                raise UserError(f"{word}: method={choices['method']} is fitted, without an optimizer", "leave it out")
    for key, word in words.items() if unseen else ():
        if key.partition(".")[0] == "augment" or key == "method.layer_decay":
            raise UserError(f"{word}: {unseen}", "leave it out")
    stages = method.get("stages", [])
    for key in ("schedule.average", "schedule.ema"):
        if stages and key in words and not _stages_on_images(stages):
            raise UserError(f"{words[key]}: no stage goes on from the start, which is what is tested", "leave it out")
    for stage in stages:
        key, rule = f"schedule.{stage['name']}.patience", stage.get("rule")
        if key in words and rule != "plateau":
            raise UserError(
                f"{words[key]}: patience is of rule=plateau, and the stage has {rule}",
                f"leave it out, or schedule.{stage['name']}.rule=plateau",
            )


@cache
def _stage_names() -> set[str]:
    """Stages of all methods: a schedule may name some that the chosen method does not have."""
    files = [yaml.safe_load(file.read_text()) or {} for file in (registry.CONF / "method").glob("*.yaml")]
    return {str(stage.get("name")) for content in files for stage in content.get("stages", [])}
