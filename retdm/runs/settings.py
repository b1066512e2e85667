"""From a composed configuration to the plain settings of a run, every key checked."""

import hashlib
import inspect
import json
import math
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from retdm.backbones import weights_hash
from retdm.data.module import ImageData
from retdm.errors import UserError
from retdm.methods.base import DeepMethod
from retdm.methods.stage import Stage
from retdm.runs.names import nearest
from retdm.targets import resolve

CONF = Path(__file__).resolve().parents[2] / "conf"

GROUPS = ("data", "backbone", "method", "schedule", "trainer", "experiment")
# Where a run keeps its files and how many hands work on it changes no result.
NOT_RESULTS = {"root", "cache", "workers", "download"}
TOP_KEYS = {
    "data", "backbone", "method", "schedule", "trainer", "seed", "outputs", "run", "overwrite", "tags", "per_label",
}  # fmt: skip
TRAINER_KEYS = {
    "devices", "accelerator", "num_nodes", "precision", "checkpoint_minutes", "checkpoint_steps", "log_every_n_steps",
}  # fmt: skip


def register_resolvers() -> None:
    """Functions that the YAML files use: products of rates, side of the cached image, the help text."""
    from retdm.data.augment import cached_side
    from retdm.runs.help import help_text

    OmegaConf.register_new_resolver("times", lambda *factors: math.prod(map(float, factors)), replace=True)
    OmegaConf.register_new_resolver("cached_side", lambda size: cached_side(int(size)), replace=True)
    OmegaConf.register_new_resolver("help_text", help_text, replace=True)


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
    chosen = {group: choices.get(group) for group in GROUPS}
    _check_keys("", set(settings), TOP_KEYS, chosen)
    settings["choices"] = {group: name for group, name in chosen.items() if name is not None}
    for group in ("data", "method", "backbone"):
        _check_keys(group, set(settings[group]) - {"_target_"}, accepted(group, settings[group]), chosen)
    _check_keys("trainer", set(settings["trainer"]), TRAINER_KEYS, chosen)
    if not isinstance(settings["seed"], int) or settings["seed"] < 0:
        raise UserError(f"seed={settings['seed']} is out of range", "it is a whole number from 0 up")
    stage_keys = set(Stage.__dataclass_fields__) - {"name", "train", "losses"}
    for name, lengths in settings["schedule"].items():
        _check_keys(f"schedule.{name}", set(lengths), stage_keys, chosen)
    schedule = settings.pop("schedule")
    settings["method"]["stages"] = [
        {**stage, **schedule.get(stage["name"], {})} for stage in settings["method"]["stages"]
    ]
    settings["trainer"]["precision"] = precision(settings["trainer"]["precision"], settings["trainer"]["accelerator"])
    if settings["data"].get("cache") is None:
        settings["data"]["cache"] = str(Path(settings["outputs"]) / "cache")
    return settings


def accepted(group: str, config: dict[str, Any]) -> set[str]:
    """Keys that a group's class takes."""
    target = resolve(config["_target_"])
    names = _parameters(target) - {"load"}
    if group == "data":
        names |= _parameters(ImageData) - {"source", "seed"}
    if group == "method":
        names = (names | _parameters(DeepMethod)) - {"backbone", "labels", "training", "width", "seed"}
    return names


def _parameters(target: Any) -> set[str]:
    return {
        name
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


def _check_keys(group: str, given: set[str], allowed: set[str], chosen: dict[str, Any]) -> None:
    for key in sorted(given - allowed):
        path = f"{group}.{key}" if group else key
        owner = chosen.get(group.split(".")[0]) or "a run"
        raise UserError(f"{_where(path, chosen)}{path} is not a setting of {owner}", nearest(key, allowed))


def _where(path: str, chosen: dict[str, Any]) -> str:
    """The YAML file that holds a key, as a prefix of a message."""
    group, _, rest = path.partition(".")
    candidates = [("experiment", path), (group, rest)]
    for folder, keys in candidates:
        file = CONF / folder / f"{chosen.get(folder)}.yaml"
        if not file.is_file():
            continue
        node: Any = yaml.safe_load(file.read_text()) or {}
        for key in keys.split("."):
            node = node.get(key) if isinstance(node, dict) else None
        if node is not None:
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
    return {
        "data": {"name": settings["choices"]["data"]}
        | {key: value for key, value in settings["data"].items() if key not in NOT_RESULTS},
        "backbone": {**settings["backbone"], "weights": weights_hash(settings["backbone"])},
        "method": settings["method"],
        "seed": settings["seed"],
        "precision": settings["trainer"]["precision"],
    }


def folder_of(settings: dict[str, Any]) -> Path:
    """``outputs/<data>/<method>/<backbone>-<split>-<hash>``, or ``run``."""
    if settings["run"] is not None:
        return Path(str(settings["run"]))
    text = json.dumps(identity(settings), sort_keys=True)
    short = hashlib.sha256(text.encode()).hexdigest()[:6]
    names = settings["choices"]
    leaf = f"{names['backbone']}-{settings['data'].get('split', 0)}-{short}"
    return Path(settings["outputs"]) / names["data"] / names["method"] / leaf


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Keys whose values differ, as ``key: old -> new``."""
    found = []
    for key in sorted(set(old) | set(new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {_short(a)} -> {_short(b)}")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "…"
