"""Settings and weights from a run folder, whose files are not trusted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retdm.errors import UserError
from retdm.methods.base import Method
from retdm.methods.stage import START
from retdm.settings.checks import RUN, check_groups, check_keys, without
from retdm.settings.classes import resolve_classes
from retdm.settings.plain import differences
from retdm.settings.run_settings import RunSettings, check_format
from retdm.settings.types import fits
from retdm.training.checkpoint_files import read_checkpoint, save

GROUPS = ("data", "augment", "method", "backbone", "optimizer")
NAMED = ("data", "method", "backbone")
NEEDED = without(RUN, "schedule") | START  # the rest of the schedule is in the method's stages
DESCRIPTION: dict[str, Any] = {"labels": list[str], "dim": int | None, "image_size": int | None}
ANEW = "train anew with overwrite=true"


def settings_of_run(
    content: Mapping[str, Any],
    identity: Mapping[str, Any],
    where: Path,
    *,
    user_classes: bool,
    groups: tuple[str, ...] = GROUPS,
) -> RunSettings:
    """The settings of a run from one of its files, with classes that may be called.

    Args:
        content: of ``config.yaml``, or the settings in a checkpoint.
        identity: out of the same file.
        where: the file, for messages.
        user_classes: they may name classes outside this package, which imports their modules.
        groups: which will be built.

    Raises:
        UserError: something is missing or no setting, or a class is not accepted.
    """
    check_format(content, where)
    if missing := [key for key in NEEDED if key not in content]:
        raise UserError(f"{where}: {missing[0]} is missing", f"another version wrote it, or it was edited: {ANEW}")
    try:
        found = {key: content[key] for key in NEEDED}
        check_keys("", found, NEEDED, {}, "a run")
        choices = content.get("choices")
        if not isinstance(choices, dict) or not all(isinstance(choices.get(group), str) for group in NAMED):
            raise UserError("choices does not name data, method and backbone", "take a run that training wrote")
        classes = resolve_classes(found, groups, trusted_only=not user_classes)
        check_groups(found, classes, choices)
    except UserError as error:
        raise UserError(f"{where}: {error.message}", error.hint) from error
    return RunSettings(**found, choices=choices, classes=classes, recorded=identity)


def description_of(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The description of the method in a checkpoint's content, its keys checked.

    Raises:
        UserError: something is missing.
    """
    description: dict[str, Any] = content["retdm"]
    for key, kind in DESCRIPTION.items():
        if not fits(description.get(key), kind):
            raise UserError(f"{path}: {key} is not what a run writes there", "take a checkpoint that retdm wrote")
    return description


def weights_into(method: Method, path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Give a method the weights of a checkpoint of its own run.

    Args:
        method: of the run.
        path: of the checkpoint.
        identity: of the run.

    Returns:
        The checkpoint's content.

    Raises:
        UserError: it cannot be read, is of another run, or its weights are not this method's.
    """
    content = read_checkpoint(path)
    check_same(content["retdm"]["identity"], identity, path)
    take(method, content, path)
    return content


def check_same(found: Mapping[str, Any], expected: Mapping[str, Any], path: Path) -> None:
    """Check that a checkpoint has the identity of its run.

    Raises:
        UserError: they are two; the first differences are named.
    """
    if changed := differences(expected, found):
        raise UserError(
            f"{path} is of another run than its folder: {'; '.join(changed[:3])}",
            "put the run's own checkpoint back, or train anew with overwrite=true",
        )


def take(method: Method, content: dict[str, Any], path: Path) -> None:
    """Load the weights of a checkpoint's content.

    Raises:
        UserError: they are not this method's.
    """
    try:
        method.load_state_dict(content["state_dict"])
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: its weights do not fit its settings: {reason}", ANEW) from error


def write_decision(path: Path, report: Mapping[str, Any]) -> None:
    """Write into an evaluated checkpoint how its run decides, so that it needs no other file of the run for that.

    Args:
        path: of the checkpoint.
        report: has ``threshold``, the one for all labels, and ``decision``, see
            :func:`retdm.runs.evaluate.decision_of`.
    """
    content = read_checkpoint(path)
    decision = {"threshold": report["threshold"], "decision": report["decision"]}
    if any(content["retdm"].get(key) != value for key, value in decision.items()):
        save({**content, "retdm": content["retdm"] | decision}, path)


def without_places(data: dict[str, Any]) -> dict[str, Any]:
    """The data settings of a run folder without its download, and with a cache only where its folder is there."""
    here: dict[str, Any] = {"download": False} if data.get("download") else {}
    if data.get("cache", "none") != "none" and not Path(data["cache"]).is_dir():
        here["cache"] = str(Path("outputs", "cache"))
    return data | here
