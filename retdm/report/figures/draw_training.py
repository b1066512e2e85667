"""Losses and validation mAP by epoch, drawn from numbers alone."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from retdm.display.figure_text import plain
from retdm.report.figures.style import NUMBER, Style, blank_figure, quiet
from retdm.report.training import Training

ROW = 90  # characters of a row's title


def draw_convergence(title: str, trainings: Mapping[str, Training], styles: Mapping[str, Style]) -> Figure:
    """A row a training: losses on the left, validation mAP on the right, its stages as numbered bands.

    The training loss is broken between stages, for another sum of losses begins there.
    """
    figure = blank_figure(0.6 + 2.45 * len(trainings), title)
    last = max(end for training in trainings.values() for _, _, end in training.stages)
    grid = figure.subplots(len(trainings), 2, squeeze=False, sharex=True)
    scores = [value for training in trainings.values() for value in training.validation_map.values()]
    bottom = min(scores, default=0.0)
    for (left, right), (name, training) in zip(grid, trainings.items(), strict=True):
        colour = styles[name].colour
        style: dict[str, Any] = {"linewidth": 1.7, "marker": "o", "markersize": 3 if last <= 40 else 0}
        for stage, (_, first, end) in enumerate(training.stages):
            for values, line in ((training.train_loss, "solid"), (training.validation_loss, "dashed")):
                epochs = [epoch for epoch in sorted(values) if first <= epoch <= end]
                shown = "w" if line == "dashed" else colour
                label = f"{'training' if line == 'solid' else 'validation'} loss" if stage == 0 else None
                heights = [values[epoch] for epoch in epochs]
                left.plot(epochs, heights, linestyle=line, color=colour, markerfacecolor=shown, label=label, **style)
        epochs = sorted(training.validation_map)
        right.plot(epochs, [training.validation_map[epoch] for epoch in epochs], color=colour, **style)
        left.set_ylim(bottom=0)
        right.set_ylim(bottom - 0.05 * (1 - bottom), 1)
        left.legend(frameon=False, fontsize=8.5, loc="upper right")
        right.set_ylabel("validation mAP", size=9.5)
        left.set_ylabel("loss", size=9.5)
        stages = ", ".join(
            f"{place} {stage.replace('_', ' ')}" for place, (stage, _, _) in enumerate(training.stages, 1)
        )
        heading = f"{plain(name, max(20, ROW - len(stages)))}: {plain(stages, ROW - 20)}"
        left.set_title(heading, size=10.5, loc="left", color=colour, weight="bold", pad=18)
        for axes in (left, right):
            quiet(axes)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlim(0.5, last + 0.5)
            for place, (_, first, end) in enumerate(training.stages, 1):
                if place % 2:
                    axes.axvspan(first - 0.5, end + 0.5, color="#f1f1f1", zorder=0, linewidth=0)
                middle = (first + end) / 2
                axes.text(middle, 1.01, str(place), transform=axes.get_xaxis_transform(), **NUMBER)
    for axes in grid[-1]:
        axes.set_xlabel("epoch", size=9.5)
    return figure
