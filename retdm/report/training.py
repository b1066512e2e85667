"""The course of a training by epoch, out of a run's ``history.jsonl``."""

from typing import Any, NamedTuple

from retdm.report.read import Run
from retdm.runs.folder.paths import RunFolder
from retdm.settings.types import fits
from retdm.training.history import read_history

MOST = 1e100  # of larger values no chart can be drawn


class Training(NamedTuple):
    """One training, by epoch counted from 1; the last three are empty where nothing was logged.

    Attributes:
        stages: (name, first epoch, last epoch) in order.
        train_loss, validation_loss, validation_map: value by epoch.
    """

    stages: list[tuple[str, int, int]]
    train_loss: dict[int, float]
    validation_loss: dict[int, float]
    validation_map: dict[int, float]


def training_of(run: Run) -> Training | None:
    """A run's ``history.jsonl``; None where it trained in no epochs."""
    lines = read_history(RunFolder(run.folder).history)
    epochs: dict[str, list[int]] = {}
    for line in lines:
        epochs.setdefault(line["stage"], []).append(line["epoch"])
    if not epochs:
        return None

    def values(part: str, name: str) -> dict[int, float]:
        found: dict[int, Any] = {line["epoch"]: line[part].get(name) for line in lines}
        return {epoch: float(value) for epoch, value in found.items() if fits(value, float) and abs(value) < MOST}

    return Training(
        [(stage, min(of_stage), max(of_stage)) for stage, of_stage in epochs.items()],
        values("train", "loss"),
        values("validation", "loss"),
        values("validation", "mAP"),
    )
