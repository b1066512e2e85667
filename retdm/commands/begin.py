"""The first second of a command: what can be told before PyTorch and Lightning are imported, which takes seconds."""

import gc
from importlib import import_module
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from retdm.commands.guard import guarded
from retdm.data.source import data_root
from retdm.display.text import printable
from retdm.runs.folder.paths import RunFolder, check_checkpoint, read_config
from retdm.runs.trained.inputs import find_images
from retdm.settings.checks import check_command, check_group
from retdm.settings.classes import class_of, source_of
from retdm.settings.compose import cache_folder, checked
from retdm.settings.features import check_features, check_files
from retdm.settings.review import check_review
from retdm.settings.run_settings import network_of
from retdm.stop import is_leader

NAMED = ("data", "method", "backbone", "schedule")  # groups of a first line


def begin(config: DictConfig) -> None:
    """Run the command whose YAML file Hydra composed, once its settings are checked and its first line is printed."""
    hydra: Any = HydraConfig.get()
    command = hydra.job.config_name
    if hydra.mode != RunMode.MULTIRUN:  # a sweep records the errors of its jobs
        guarded(lambda: _check(command, config, hydra))
    _imported(command).main(config)


def _imported(command: str) -> Any:
    """The module of a command, and with it PyTorch, imported without the garbage collector.

    It would go again and again through ever more objects, all of which stay; that is a fifth of an import's time.
    """
    gc.disable()
    try:
        if command == "train":
            import_module("retdm.runs.train")
        return import_module(f"retdm.commands.{command}")
    finally:
        gc.enable()


def _check(command: str, config: DictConfig, hydra: Any) -> None:
    if command == "train":
        asked, choices = checked(config, hydra.runtime.choices, hydra.overrides.task)
        data_is_there(asked["data"])
        said = [f"{group}={choices[group]}" for group in NAMED if choices.get(group, "none") != "none"]
        said += _name_inside(choices, asked["backbone"])
    else:
        said = [_checked_without_training(command, OmegaConf.to_container(config, resolve=True), hydra.runtime.choices)]
    if is_leader():
        print(printable(" ".join([f"retdm {command}", *said])), flush=True)


def _checked_without_training(command: str, asked: Any, choices: Any) -> str:
    """The word of a command that says what it works on."""
    if command == "check":
        check_command(command, asked, choices)
        cache_folder(asked["data"], asked["outputs"])
        check_group("data", asked["data"], class_of("data", asked["data"]), choices)
        data_is_there(asked["data"])
        return f"data={choices['data']}"
    if command == "review":
        check_review(asked, choices)
        data_is_there(asked["data"])
        return " ".join(
            [f"{group}={choices[group]}" for group in ("data", "backbone", "method") if asked[group]]
            if asked["apply"] is None
            else [f"data={choices['data']} apply={asked['apply']}"]
        )
    if command == "features":
        check_features(asked, choices)
        check_files(asked)
    else:
        check_command(command, asked)
    if images := asked.get("images"):
        find_images(images)
    if asked["run"] is None:
        return " ".join([f"backbone={choices['backbone']}", *_name_inside(choices, asked["backbone"])])
    run = RunFolder(asked["run"])
    if command in ("test", "decide"):
        read_config(run)
    else:
        check_checkpoint(run)
    return f"run={asked['run']}"


def _name_inside(choices: Any, backbone: Any) -> list[str]:
    """The word for the network that is chosen inside a backbone, where that is of timm's many."""
    return [f"backbone.name={backbone['name']}"] if network_of(choices, backbone) != choices["backbone"] else []


def data_is_there(data: dict[str, Any]) -> None:
    """Check that the folder of a data set is there, and the label file of a user's own.

    Args:
        data: settings of the set, checked.

    Raises:
        UserError: it is not, in the words of the set's class.
    """
    kind: Any = class_of("data", data)
    if kind.user_settings:
        kind.user_files(*(data[key] for key in kind.user_settings))
    elif kind.place and not data.get("download") and not (data_root(data["root"]) / kind.place).is_dir():
        source_of(kind, data)
