"""The figure of losses and validation mAP by epoch, and where it finds them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from retdm.report.collect import Group, Run
from retdm.report.figures.draw_training import History, draw_convergence
from retdm.report.figures.shown_groups import MOST_SHOWN, Drawn, choose, names_of, of_all, styled
from retdm.runs.folder import RunFolder


def convergence(groups: Sequence[Group], methods: Sequence[str]) -> Iterator[Drawn]:
    """RETDM's Fig. 6: losses and validation mAP by epoch, of the first split of each group."""
    shown = choose(groups, MOST_SHOWN)
    names = names_of(shown)
    found = {name: history_of(group.runs[0]) for group, name in zip(shown, names, strict=True)}
    histories = {name: history for name, history in found.items() if history is not None}
    if not histories:
        return
    title = f"Training on {groups[0].data}: loss and validation mAP by epoch"
    caption = (
        "The first split of each group. Left: the weighted loss of the stage, solid in training, dashed on the "
        "validation part. Bands are stages; another sum of losses begins with each." + of_all(shown, groups)
    )
    yield Drawn("convergence", title, caption, draw_convergence(title, histories, styled(shown, names, methods)))


def history_of(run: Run) -> History | None:
    """What a run logged for TensorBoard, by epoch; None where it trained in no epochs or logged nothing."""
    stages: list[tuple[str, int, int]] = []
    for stage in (run.metrics or {}).get("stages") or []:
        first = stages[-1][2] + 1 if stages else 1
        stages.append((stage["stage"], first, first + stage["epochs"] - 1))
    folder = RunFolder(run.folder).tensorboard
    if not stages or not folder.is_dir():
        return None
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 1})
    events.Reload()

    def logged(tag: str, *older: str) -> dict[int, list[float]]:
        return next((_by_step(events, name) for name in (tag, *older) if name in events.Tags()["scalars"]), {})

    # An epoch is logged at its steps, the last among them; only the first value of a step counts: what test.py logs
    # later stands at step 0 again.
    ends: dict[int, int] = {}
    for step, values in sorted(logged("work/epoch", "epoch").items()):
        ends[int(values[0]) + 1] = step
    epochs, steps = sorted(ends), np.array([ends[epoch] for epoch in sorted(ends)])

    def by_epoch(tag: str, late: int = 0) -> dict[int, float]:
        """Means of what was logged from one epoch's end to the next, ``late`` steps after it was measured."""
        found: dict[int, list[float]] = defaultdict(list)
        for step, values in logged(tag).items():
            place = int(np.searchsorted(steps, step - late))
            if place < len(epochs):
                found[epochs[place]].append(values[0])
        return {epoch: float(np.mean(values)) for epoch, values in sorted(found.items())}

    train = by_epoch("train/epoch_loss") or by_epoch("train/loss", late=1)
    history = History(stages, train, by_epoch("validation/loss"), by_epoch("validation/mAP"))
    return history if history.train_loss or history.validation_map else None


def _by_step(events: Any, tag: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = defaultdict(list)
    for event in events.Scalars(tag):
        found[event.step].append(event.value)
    return found
