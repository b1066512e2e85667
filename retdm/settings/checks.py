"""Checks that every key of a run's settings is known, and its value of the kind that the class taking it declares."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_type_hints

from retdm.batch import BagBatch
from retdm.data.observe import OBSERVE_HINT
from retdm.decisions import rule_of
from retdm.decisions.calibration import check_kind
from retdm.errors import UserError
from retdm.methods.stage import Stage
from retdm.ranges import Above, AtLeast, Between
from retdm.registry import nearest
from retdm.settings.declared import parameters_of
from retdm.settings.plain import short, where_written
from retdm.settings.renamed import refuse_renamed
from retdm.settings.types import fits, in_words, mapped

RUN: dict[str, Any] = {
    **dict.fromkeys(("data", "augment", "backbone", "method", "optimizer"), dict[str, Any]),
    **dict.fromkeys(("schedule", "trainer", "logger"), dict[str, Any]),
    "seed": Annotated[int, AtLeast(0)],
    "outputs": str,
    "run": str | None,
    "overwrite": bool,
    "refit": bool,
    "threshold": Annotated[float, Between(0, 1)] | None,
    "precompute": bool,
    "tags": list[Any],
    "per_label": bool,
}
FeatureView = Literal["embedding", "multilevel", "maps"]
# Data modules, by name: the keys that they add to those of a data set.
IMAGE_MODULE, BAG_MODULE = "retdm.data.modules.ImageData", "retdm.data.modules.BagData"
COMMANDS: dict[str, dict[str, Any]] = {  # settings of the commands that are not training
    "test": {
        "run": str | None,
        "per_label": bool,
        "retrieval": bool,
        "user_classes": bool,
        "data": dict[str, Any],
        "trainer": dict[str, Any],
    },
    "predict": {
        "run": str | None,
        "images": str | list[str] | None,
        "out": str | None,
        "decide": str | None,
        "device": str,
        "batch_size": int,
        "value_range": list[float] | None,
        "gallery": bool,
        "user_classes": bool,
    },
    "search": {
        "run": str | None,
        "labels": str | list[str | int] | None,
        "image": str | None,
        "images": str | list[str] | None,
        "top": int,
        "out": str | None,
        "device": str,
        "batch_size": int,
        "value_range": list[float] | None,
        "user_classes": bool,
    },
    "features": {
        "run": str | None,
        "backbone": dict[str, Any],
        "images": str | list[str] | None,
        "out": str,
        "view": FeatureView,
        "stages": list[str | int] | None,
        "image_size": Annotated[int, AtLeast(1)] | None,
        "precision": Literal["32-true", "bf16-mixed", "auto"] | None,
        "device": str,
        "batch_size": Annotated[int, AtLeast(1)],
        "value_range": list[float] | None,
        "overwrite": bool,
        "user_classes": bool,
    },
    "decide": {
        "run": str | None,
        "rule": str | list[str] | None,
        "calibrate": str | list[str] | None,
        "per_label": bool,
    },
    "export": {
        "run": str | None,
        "out": str | None,
        "decide": str | None,
        "onnx": bool,
        "overwrite": bool,
        "user_classes": bool,
    },
    "review": {
        **dict.fromkeys(("data", "backbone", "method"), dict[str, Any]),
        "ranking": Literal["odds", "self_confidence", "margin"],
        "folds": Annotated[int, AtLeast(2)],
        "top": Annotated[int, Between(1, 2000)],
        "apply": str | None,
        "overwrite": bool,
        "out": str | None,
        "outputs": str,
        "seed": Annotated[int, AtLeast(0)],
        "device": str,
        "precision": Literal["auto", "bf16-mixed", "32-true"],
    },
    "check": {
        "data": dict[str, Any],
        "augment": dict[str, Any],
        "out": str | None,
        "outputs": str,
        "seed": Annotated[int, AtLeast(0)],
    },
}
FOLDERS = {"run", "images", "out", "outputs"}  # settings of commands
TRAINER: dict[str, Any] = {
    "devices": int | list[int],
    "accelerator": Literal["auto", "cpu", "gpu"],
    "num_nodes": Annotated[int, AtLeast(1)],
    "precision": Literal["auto", "bf16-mixed", "32-true"],
    "checkpoint_minutes": Annotated[float, Above(0)],
    "checkpoint_steps": Annotated[int, AtLeast(1)] | None,
    "log_every_n_steps": Annotated[int, AtLeast(1)],
    "deterministic": bool | None,
}
# A stage of a method: of the sequences YAML knows lists alone.
STAGE = get_type_hints(Stage, include_extras=True) | dict.fromkeys(("train", "losses"), list[str])


def check_command(command: str, asked: dict[str, Any], choices: Mapping[str, Any] | None = None) -> None:
    """Every setting of a command that is not training is known, there, and of its kind.

    Args:
        command: its name, for messages.
        asked: its settings, as composed; a folder that is called 2024 becomes text. A ``run`` must be named
            where no ``backbone`` can be.
        choices: group -> name of its YAML file, where the command has any.

    Raises:
        UserError: a key is unknown, missing or has another name now, a value cannot be, or there is no such rule.
    """
    kinds = COMMANDS[command]
    refuse_renamed(asked, kinds, choices or {})
    check_folders(asked)
    check_keys("", asked, kinds, choices or {}, command, complete=True)
    for key in {"decide", "rule"} & asked.keys():
        for name in rule_names(asked[key]):
            rule_of(name)
    for name in rule_names(asked.get("calibrate")):
        check_kind(name)
    if "run" in kinds and "backbone" not in kinds and asked["run"] is None:
        raise UserError("which run? run=<folder> is missing", f"retdm {command} run=outputs/<data>/<method>/<name>")


def rule_names(rules: str | list[str] | None) -> list[str]:
    """The names of decision rules, or of calibrations, in a setting, with commas between them or as a list."""
    names = rules.split(",") if isinstance(rules, str) else rules or []
    return [name.strip() for name in names]


def check_folders(asked: dict[str, Any]) -> None:
    """Make text of folders that are called 2024, and raise ``UserError`` for one without a name."""
    for key in sorted(FOLDERS & asked.keys()):
        asked[key] = _as_text(asked[key])
        if asked[key] == "":
            raise UserError(f"{key}= names no folder", f"{key}=<folder>, or leave it out")


def _as_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return str(value) if fits(value, int) else value


def check_groups(content: Mapping[str, Any], classes: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    """Check that every key of these groups and of the trainer is a setting of what was chosen, of the right kind.

    Args:
        content: the groups, by name.
        classes: those of the groups that are checked; the trainer always is.
        choices: group -> name of its YAML file.

    Raises:
        UserError: a key is unknown (with file and nearest name) or a value cannot be.
    """
    for group, kind in classes.items():
        check_group(group, content[group], kind, choices)
    check_keys("trainer", content["trainer"], TRAINER, choices, "the trainer", complete=True)


def check_group(group: str, config: Mapping[str, Any], kind: Any, choices: Mapping[str, Any]) -> None:
    """Check one group.

    Args:
        group: its name.
        config: its settings.
        kind: its class; before that is imported its name, ``module.Class``. Then the settings of a method's parts,
            which the class knows, are not checked. Of data always the class.
        choices: group -> name of its YAML file.

    Raises:
        UserError: a key is unknown (with file and nearest name) or a value cannot be.
    """
    check_keys(group, config, accepted(group, kind), choices, str(choices.get(group)))
    if group != "method":
        return
    for stage in config.get("stages", ()):
        check_keys(f"method.stages.{stage.get('name')}", stage, STAGE, choices, "a stage")
    for key, kinds in {} if isinstance(kind, str) else kind.nested_settings(config).items():
        if isinstance(config[key], Mapping):
            check_keys(f"{group}.{key}", config[key], kinds, choices, f"{config[key].get('name')}")


def accepted(group: str, kind: Any) -> dict[str, Any]:
    """Keys that a group's class, or the class of this name, takes, with the annotations of their values."""
    kinds = parameters_of(kind)
    if group == "data":
        module = parameters_of(BAG_MODULE if kind.gives is BagBatch else IMAGE_MODULE)
        kinds = without(module, "source", "augmentation", "preparation", "seed") | kinds
        if kind.user_settings and "image_size" in kinds:
            kinds["image_size"] |= None  # their number chooses it
    if group == "method":
        kinds = without(kinds, "backbone", "labels", "optimizer", "seed")
    if group == "backbone":
        kinds = without(kinds, "load", "image_size")  # which is that of data
    return kinds | {"_target_": str}


def without(kinds: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """A copy that leaves some names out."""
    return {name: kind for name, kind in kinds.items() if name not in names}


def check_keys(
    group: str,
    given: Mapping[str, Any],
    allowed: Mapping[str, Any],
    choices: Mapping[str, Any],
    owner: str,
    *,
    complete: bool = False,
) -> None:
    """Check that every key is one of ``allowed`` and its value of that kind; ``complete``: and that none is missing.

    Raises:
        UserError: a key is unknown (with file and nearest name) or a value cannot be.
    """
    for key in allowed if complete else ():
        if key not in given:
            raise UserError(f"{group}{'.' if group else ''}{key} is not set", "it must have a value")
    for key, value in sorted(given.items(), key=lambda item: str(item[0])):
        path = f"{group}.{key}" if group else str(key)
        if key not in allowed:
            where = where_written(path, choices, value)
            raise UserError(f"{where}{path} is not a setting of {owner}", nearest(str(key), allowed))
        if fits(value, allowed[key]):
            continue
        if isinstance(value, Mapping) and (inner := mapped(allowed[key])):
            check_keys(path, value, dict.fromkeys(value, inner), choices, owner)
        else:
            where = where_written(path, choices, value)
            hint = OBSERVE_HINT if path == "data.observe" else ""
            raise UserError(f"{where}{path}={short(value)} is not {in_words(allowed[key])}", hint)
