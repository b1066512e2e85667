"""What a run folder and its checkpoints kept, read as files that anybody may have written."""

from pathlib import Path
from typing import Any

from retdm.errors import UserError
from retdm.methods.base import Method
from retdm.runs.classes import check_classes
from retdm.runs.setting_types import fits
from retdm.runs.settings import RUN, check_groups, check_keys, differences, results
from retdm.training.checkpoints import continue_from

GROUPS = ("data", "method", "backbone")
NEEDED = {key: RUN[key] for key in ("data", "backbone", "method", "trainer", "seed", "refit", "precompute")}
SAID: dict[str, Any] = {"labels": list[str], "dim": int | None, "image_size": int | None}


def check_settings(
    settings: dict[str, Any], where: Path, *, user_classes: bool, groups: tuple[str, ...] = GROUPS
) -> None:
    """A run can be built of these settings, and of classes that may be called.

    Args:
        settings: as ``config.yaml`` or a checkpoint kept them.
        where: the file, for messages.
        user_classes: they may name classes outside this package, which imports their modules.
        groups: which will be built.

    Raises:
        UserError: something is missing or no setting, or a class is not accepted.
    """
    try:
        kept = {key: settings[key] for key in NEEDED if key in settings}
        check_keys("", kept, NEEDED, {}, "a run", complete=True)
        choices = settings.get("choices")
        if not isinstance(choices, dict) or not all(isinstance(choices.get(group), str) for group in GROUPS):
            raise UserError("choices does not name data, method and backbone", "take a run that train.py wrote")
        check_classes(settings, groups, trusted_only=not user_classes)
        check_groups(settings, groups)
    except UserError as error:
        raise UserError(f"{where}: {error.message}", error.hint) from error


def description_of(content: dict[str, Any], path: Path, *, user_classes: bool) -> dict[str, Any]:
    """What a checkpoint's content says of its method, enough to build it without data.

    Raises:
        UserError: something is missing, or a class is not accepted.
    """
    said: dict[str, Any] = content["retdm"]
    for key, kind in SAID.items():
        if not fits(said.get(key), kind):
            raise UserError(f"{path}: {key} is not what a run says of itself", "take a checkpoint that retdm wrote")
    check_settings(said["settings"], path, user_classes=user_classes, groups=("method", "backbone"))
    return said


def weights_into(method: Method, path: Path) -> dict[str, Any]:
    """Give a method the weights of a checkpoint of its own run.

    Args:
        method: its ``description`` has the settings, and the ``identity`` where that is known.
        path: of the checkpoint.

    Returns:
        The checkpoint's content.

    Raises:
        UserError: it cannot be read, is of another run, or its weights are not this method's.
    """
    content = continue_from(path)
    check_same(content["retdm"], method.description, path)
    take(method, content, path)
    return content


def check_same(said: dict[str, Any], expected: dict[str, Any], path: Path) -> None:
    """Two descriptions are of one run: their settings, and what their files held, where both say it.

    Raises:
        UserError: they are of two; what differs is named.
    """
    found = []
    if said.get("identity") and expected.get("identity"):
        found = differences(expected["identity"], said["identity"])
    else:
        found = differences(_results(expected["settings"]), _results(said["settings"]))
    if found:
        raise UserError(
            f"{path} is of another run than its folder: {'; '.join(found[:3])}",
            "put the run's own checkpoint back, or train anew with overwrite=true",
        )


def _results(settings: dict[str, Any]) -> dict[str, Any]:
    try:
        return results(settings)
    except (KeyError, TypeError, AttributeError):
        return {}


def take(method: Method, content: dict[str, Any], path: Path) -> None:
    """Load the weights of a checkpoint's content.

    Raises:
        UserError: they are not this method's.
    """
    try:
        method.load_state_dict(content["state_dict"])
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{path}: its weights do not fit its settings: {reason}", "train anew with overwrite=true"
        ) from error
