"""The figure of losses and validation mAP by epoch."""

from collections.abc import Iterator, Sequence

from retdm.report.figures.draw_training import draw_convergence
from retdm.report.figures.shown_groups import MOST_SHOWN, Drawn, choose, names_of, of_all, styled
from retdm.report.groups import Group
from retdm.report.training import training_of


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
