"""From a composed configuration to the plain settings of a run, every key checked."""

import hashlib
import inspect
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from retdm.backbones import weights_hash
from retdm.backbones.weights import file_hash
from retdm.batch import BagBatch, Batch
from retdm.criteria.decide import RULES
from retdm.data.module import module_of
from retdm.data.source import data_root
from retdm.errors import UserError
from retdm.methods.stage import Stage
from retdm.registry import CONF as CONF
from retdm.registry import nearest
from retdm.runs.classes import class_of
from retdm.runs.setting_types import fits, in_words, mapped

GROUPS = ("data", "backbone", "method", "optimizer", "schedule", "trainer", "experiment")
# Where a run keeps its files and how many hands work on it changes no result.
NOT_RESULTS = {"root", "cache", "workers", "download"}
RUN: dict[str, Any] = {
    **dict.fromkeys(("data", "backbone", "method", "optimizer", "schedule", "trainer"), dict[str, Any]),
    "seed": int,
    "outputs": str,
    "run": str | None,
    "overwrite": bool,
    "refit": bool,
    "threshold": float | None,
    "precompute": bool,
    "tags": list[Any],
    "per_label": bool,
}
TRAINER: dict[str, Any] = {
    "devices": int | list[int],
    "accelerator": str,
    "num_nodes": int,
    "precision": str,
    "checkpoint_minutes": float,
    "checkpoint_steps": int | None,
    "log_every_n_steps": int,
    "deterministic": bool | None,
}


def register_resolvers() -> None:
    """The function that the YAML files use: the side of the cached image."""
    from retdm.data.augment import cached_side

    # What is no whole number is told of as data.image_size, where it was written.
    OmegaConf.register_new_resolver(
        "cached_side", lambda size: cached_side(size) if fits(size, int) else size, replace=True
    )


def compose_settings(overrides: list[str]) -> dict[str, Any]:
    """The settings that ``python train.py <overrides>`` would have."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides, return_hydra_config=True)
        choices = dict(config.hydra.runtime.choices)
        del_hydra = {key: value for key, value in config.items_ex(resolve=False) if key != "hydra"}
        plain = OmegaConf.create(del_hydra)
        return settings_of(plain, choices)


def settings_of(config: DictConfig, choices: dict[str, Any]) -> dict[str, Any]:
    """Plain, checked and complete settings of one run.

    Raises:
        UserError: a key is unknown (with file and nearest name) or a value cannot be.
    """
    settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    for key in ("outputs", "run"):
        if fits(settings.get(key), int):  # a folder may be called 2024
            settings[key] = str(settings[key])
    chosen = {group: choices.get(group) for group in GROUPS}
    check_keys("", settings, RUN, chosen, "a run", complete=True)
    cache_folder(settings)
    settings["choices"] = {group: name for group, name in chosen.items() if name is not None}
    if gives(settings["data"]) is BagBatch:
        settings["backbone"], settings["choices"]["backbone"] = {}, "none"
    if "stages" not in settings["method"]:  # it is fitted
        settings["optimizer"] = {}
    check_groups(settings)
    place(settings["data"])
    if settings["seed"] < 0:
        raise UserError(f"seed={settings['seed']} is out of range", "it is a whole number from 0 up")
    if (rule := settings["method"].get("decide", "half")) not in RULES:
        where = _where("method.decide", chosen, rule)
        raise UserError(f"{where}method.decide={rule} is not known", nearest(str(rule), RULES))
    if settings["threshold"] is not None and not 0 <= settings["threshold"] <= 1:
        raise UserError(f"threshold={settings['threshold']} is out of range", "it is a number from 0 to 1")
    schedule = settings.pop("schedule")
    stages = settings["method"].get("stages", [])
    names = _stage_names() | {str(stage.get("name")) for stage in stages}
    check_keys("schedule", schedule, dict.fromkeys(names, dict[str, Any]), chosen, f"schedule {chosen['schedule']}")
    stage_keys = _without(get_type_hints(Stage, include_extras=True), "name", "train", "losses")
    for name, lengths in schedule.items():
        check_keys(f"schedule.{name}", lengths, stage_keys, chosen, "a stage")
    if "stages" in settings["method"]:
        settings["method"]["stages"] = [{**stage, **schedule.get(stage.get("name"), {})} for stage in stages]
    settings["trainer"]["precision"] = precision(settings["trainer"]["precision"], settings["trainer"]["accelerator"])
    return settings


def cache_folder(settings: dict[str, Any]) -> None:
    """Put the image cache under ``outputs`` where no other place is named."""
    if settings["data"].get("cache", "") is None:
        settings["data"]["cache"] = str(Path(settings["outputs"]) / "cache")


def place(data: dict[str, Any]) -> None:
    """Make the places of data and cache absolute, so that another command finds them from another folder."""
    source = class_of("data", data)
    given = data.get("root")
    if "root" in parameters_of(source) and (given is not None or not hasattr(source, "user_files")):
        data["root"] = str(data_root(given).absolute())
    if data.get("cache", "none") != "none":
        data["cache"] = str(Path(data["cache"]).absolute())


def gives(data: Mapping[str, Any]) -> type:
    """The kind of batches that a data set gives."""
    found: type = getattr(class_of("data", data), "gives", Batch)
    return found


def check_groups(
    settings: dict[str, Any], groups: tuple[str, ...] = ("data", "method", "backbone", "optimizer")
) -> None:
    """Every key of the groups and of the trainer is a setting of what was chosen, and its value of the right kind.

    Raises:
        UserError: one is not.
    """
    for group in groups:
        if settings[group]:
            check_group(group, settings)
    settings["trainer"].setdefault("deterministic", None)  # folders of older runs do not have it
    check_keys("trainer", settings["trainer"], TRAINER, settings["choices"], "the trainer", complete=True)


def check_group(group: str, settings: dict[str, Any]) -> None:
    """The same of one group."""
    chosen = settings["choices"]
    check_keys(group, settings[group], accepted(group, settings[group]), chosen, str(chosen.get(group)))


def accepted(group: str, config: dict[str, Any]) -> dict[str, Any]:
    """Keys that a group's class takes, with the annotations of their values."""
    target = class_of(group, config)
    kinds = parameters_of(target)
    if group == "data":
        kinds = _without(parameters_of(module_of(target)), "source", "seed") | kinds
    if group == "method":
        kinds = _without(kinds, "backbone", "labels", "optimizer", "seed")
    return _without(kinds, "load") | {"_target_": str}


def parameters_of(target: Any) -> dict[str, Any]:
    """What a class or a function takes by name; of a class that hands on the rest, what its bases take too."""
    found: dict[str, Any] = {}
    for each in inspect.getmro(target) if inspect.isclass(target) else (target,):
        if each is not target and "__init__" not in vars(each):
            continue
        call = each.__init__ if inspect.isclass(each) else each
        try:
            kinds = get_type_hints(call, include_extras=True)
        except NameError:  # a name imported for type checkers alone; then its values are the class's own to check
            kinds = {}
        parameters = inspect.signature(each).parameters.values()
        named = [one.name for one in parameters if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
        found = {name: kinds.get(name, Any) for name in named} | found
        if all(one.kind != one.VAR_KEYWORD for one in parameters):
            break
    return found


def _without(kinds: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: kind for name, kind in kinds.items() if name not in names}


@cache
def _stage_names() -> set[str]:
    """Stages of all methods: a schedule may speak of those that the chosen one has not."""
    files = [yaml.safe_load(file.read_text()) or {} for file in (CONF / "method").glob("*.yaml")]
    return {str(stage.get("name")) for content in files for stage in content.get("stages", [])}


def check_keys(
    group: str,
    given: Mapping[str, Any],
    allowed: Mapping[str, Any],
    chosen: dict[str, Any],
    owner: str,
    *,
    complete: bool = False,
) -> None:
    """Every key is one of ``allowed`` and its value is of that kind; ``complete``: and all of them are there."""
    for key in allowed if complete else ():
        if key not in given:
            raise UserError(f"{group}{'.' if group else ''}{key} is not set", "it must have a value")
    for key, value in sorted(given.items(), key=lambda item: str(item[0])):
        path = f"{group}.{key}" if group else str(key)
        if key not in allowed:
            where = _where(path, chosen, value)
            raise UserError(f"{where}{path} is not a setting of {owner}", nearest(str(key), allowed))
        if fits(value, allowed[key]):
            continue
        if isinstance(value, Mapping) and (inner := mapped(allowed[key])):
            check_keys(path, value, dict.fromkeys(value, inner), chosen, owner)
        else:
            where = _where(path, chosen, value)
            raise UserError(f"{where}{path}={_short(value)} is not {in_words(allowed[key])}")


def _where(path: str, chosen: dict[str, Any], value: Any) -> str:
    """The YAML file that gives a key this value, as a prefix of a message; nothing where the command gave it."""
    group, _, rest = path.partition(".")
    candidates = [("experiment", path), (group, rest)]
    for folder, keys in candidates:
        file = CONF / folder / f"{chosen.get(folder)}.yaml"
        if not file.is_file():
            continue
        node: Any = yaml.safe_load(file.read_text()) or {}
        for key in keys.split("."):
            node = node.get(key) if isinstance(node, dict) else None
        if node is not None and node == value:
            return f"conf/{folder}/{file.name}: "
    return ""


def precision(asked: str, accelerator: str) -> str:
    """``auto`` is bf16-mixed where the processor multiplies bfloat16 matrices, else 32-true; chosen by what it can do,
    never by a timing."""
    if asked == "auto":
        return "bf16-mixed" if _has_bfloat16(accelerator) else "32-true"
    if asked not in ("bf16-mixed", "32-true"):
        raise UserError(f"trainer.precision={asked} is not known", "it is one of: auto, bf16-mixed, 32-true")
    return asked


def _has_bfloat16(accelerator: str) -> bool:
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


def identity(settings: dict[str, Any]) -> dict[str, Any]:
    """What changes a run's results, and nothing else; its hash names the folder."""
    found = results(settings)
    found["data"] |= _user_files(settings["data"])
    found["backbone"] = settings["backbone"] and {**found["backbone"], "weights": weights_hash(settings["backbone"])}
    return found


def results(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that change results; of files, their names."""
    return {
        "data": {"name": settings["choices"]["data"]}
        | {key: value for key, value in settings["data"].items() if key not in NOT_RESULTS},
        "backbone": settings["backbone"],
        "method": settings["method"],
        "optimizer": settings["optimizer"],
        "seed": settings["seed"],
        "refit": settings["refit"],
        "precompute": settings["precompute"],
        "precision": settings["trainer"]["precision"],
        **({} if settings.get("threshold") is None else {"threshold": settings["threshold"]}),
    }


def _user_files(data: dict[str, Any]) -> dict[str, Any]:
    """Where a user's own data lies and what its label file holds: its name alone would not tell it from another's."""
    user_files = getattr(class_of("data", data), "user_files", None)
    if user_files is None:
        return {}
    given = {key: data[key] for key in inspect.signature(user_files).parameters if key in data}
    paths = [path.absolute() for path in user_files(**given)] if None not in given.values() else []
    return {"own": {str(path): file_hash(path) if path.is_file() else None for path in paths}}


def folder_of(settings: dict[str, Any]) -> Path:
    """``outputs/<data>/<method>/<backbone>-<split>-<hash>``, or ``run``."""
    if settings["run"] is not None:
        return Path(str(settings["run"]))
    text = json.dumps(identity(settings), sort_keys=True)
    short = hashlib.sha256(text.encode()).hexdigest()[:6]
    names = settings["choices"]
    leaf = f"{network_of(settings)}-{settings['data'].get('split', 0)}-{short}"
    return Path(settings["outputs"], names["data"], names["method"], leaf)


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Keys whose values differ, as ``key: old -> new``; the items of a list of stages go by their names."""
    found = []
    for key in sorted(set(old) | set(new)):
        a, b = _by_name(old.get(key)), _by_name(new.get(key))
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {_short(a)} -> {_short(b)}")
    return found


def _by_name(value: Any) -> Any:
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        return {item["name"]: item for item in value}
    return value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "…"


def network_of(config: Mapping[str, Any]) -> str:
    """The backbone of a run by the name that tells it from others: ``vgg16``; of timm's ``timm_<its name there>``."""
    choice, backbone = str(config["choices"]["backbone"]), config.get("backbone")
    name = backbone.get("name") if isinstance(backbone, Mapping) else None
    return choice if name is None else re.sub(r"[^\w.-]+", "_", f"{choice}_{name}")
