"""The figure of losses and validation mAP by epoch."""

from collections.abc import Iterator, Sequence
from typing import Any

from retdm.report.figures.draw_training import Training, draw_convergence
from retdm.report.figures.shown_groups import MOST_SHOWN, Drawn, choose, names_of, of_all, styled
from retdm.report.groups import Group
from retdm.report.read import Run
from retdm.runs.folder.paths import RunFolder
from retdm.training.history import read_history


def convergence(groups: Sequence[Group], methods: Sequence[str]) -> Iterator[Drawn]:
    """RETDM's Fig. 6: losses and validation mAP by epoch, of the first split of each group."""
    shown = choose(groups, MOST_SHOWN)
    names = names_of(shown)
    found = {name: training_of(group.runs[0]) for group, name in zip(shown, names, strict=True)}
    trainings = {name: training for name, training in found.items() if training is not None}
    if not trainings:
        return
    title = f"Training on {groups[0].data}: loss and validation mAP by epoch"
    caption = (
        "The first split of each group. Left: the weighted loss of the stage, solid in training, dashed on the "
        "validation split. Bands are stages; another sum of losses begins with each." + of_all(shown, groups)
    )
    yield Drawn("convergence", title, caption, draw_convergence(title, trainings, styled(shown, names, methods)))


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
        return {epoch: float(value) for epoch, value in found.items() if isinstance(value, int | float)}

    return Training(
        [(stage, min(of_stage), max(of_stage)) for stage, of_stage in epochs.items()],
        values("train", "loss"),
        values("validation", "loss"),
        values("validation", "mAP"),
    )
