"""Criteria over numbers of images and other settings, drawn from arrays alone."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullLocator

from retdm.criteria import LARGER_IS_BETTER
from retdm.display.figure_text import plain
from retdm.report.figures.style import (
    COLOURS,
    QUIET,
    WRITTEN,
    Floats,
    Style,
    better,
    blank_figure,
    deviation,
    legend,
    legend_height,
    mean,
    quiet,
    written_in,
)

Points = Mapping[float, Mapping[str, Floats]]
"""Measurements at each place of an axis: criterion -> (splits,)."""


def _error_bars(axes: Axes, points: Points, criterion: str, style: Style) -> Any:
    places = sorted(points)
    found = [np.asarray(points[place][criterion], float) for place in places]
    return axes.errorbar(
        places,
        [mean(values) for values in found],
        yerr=[deviation(values) for values in found],
        color=style.colour,
        marker=style.marker,
        linestyle=style.dashes,
        linewidth=1.6,
        markersize=4.5,
        capsize=2.5,
        elinewidth=1,
    )


def _size_axis(axes: Axes, sizes: Sequence[float]) -> None:
    """Logarithmic over numbers of images in order, with a tick at each that can be read beside the last one."""
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    apart = (sizes[-1] / sizes[0]) ** (1 / 8)
    ticks = [sizes[-1]]
    for size in reversed(sizes[:-1]):
        if ticks[-1] >= apart * size:
            ticks.append(size)
    axes.set_xticks(ticks, [f"{size:g}" for size in ticks])
    axes.margins(x=0.06)


def draw_learning_curves(
    title: str,
    curves: Mapping[str, Points],
    styles: Mapping[str, Style],
    criteria: Sequence[str],
    earlier: Mapping[str, tuple[str, float]],
) -> Figure:
    """A panel a criterion: its mean over splits against the number of training images, bars one standard deviation.

    Args:
        curves: by the name of the line; its places are numbers of training images.
        criteria: at most five, one panel each; the sixth place is the legend's.
        earlier: by criterion, (name, value) of an earlier method, drawn as a level line.
    """
    figure = blank_figure(5.4, title)
    panels = figure.subplots(2, 3).flat
    places = sorted({place for points in curves.values() for place in points})
    handles: list[Any] = []
    for criterion, axes in zip(criteria, panels, strict=False):  # in this order, or a panel is lost at the end
        handles = [_error_bars(axes, points, criterion, styles[name]) for name, points in curves.items()]
        quiet(axes)
        _size_axis(axes, places)
        axes.set_title(better(criterion), size=10.5)
        axes.set_xlabel("training images", size=9.5)
        if criterion in earlier:
            name, value = earlier[criterion]
            axes.axhline(value, color=QUIET, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1)
            axes.annotate(
                f"{plain(name, 24)} {value:.3f}",
                (1, value),
                (0, 2),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="bottom",
                size=8.5,
                color=QUIET,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )
            axes.margins(y=0.12)
    names = [fill(plain(name, 90), 30) for name in curves]
    left = list(panels)
    for axes in left:
        axes.set_axis_off()
    if earlier:
        handles.append(Line2D([], [], color=QUIET, linewidth=1.1, linestyle=(0, (5, 3))))
        names.append("best earlier method")
    left[0].legend(handles, names, loc="center left", frameon=False, fontsize=9.5, labelspacing=0.9)
    return figure


def draw_setting_curve(
    title: str,
    setting: str,
    curves: Mapping[str, Points],
    styles: Mapping[str, Style],
    criteria: Sequence[str],
    *,
    powers: bool = True,
) -> Figure:
    """A panel a criterion: its mean over splits against one numeric setting, bars one standard deviation.

    ``powers``: values that are far apart stand evenly by their powers, as loss weights are tried, and 0 among them.
    """
    figure = blank_figure(3 + legend_height(list(curves)), title)
    places = sorted({place for points in curves.values() for place in points})
    positive = [place for place in places if place > 0]
    for axes, criterion in zip(figure.subplots(1, len(criteria), squeeze=False)[0], criteria, strict=True):
        handles = [_error_bars(axes, points, criterion, styles[name]) for name, points in curves.items()]
        quiet(axes)
        if powers and positive and positive[-1] >= 8 * positive[0]:
            axes.set_xscale("symlog", linthresh=positive[0])
            axes.xaxis.set_minor_locator(NullLocator())
        if len(places) <= 9:
            axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.set_title(better(criterion), size=10.5)
        axes.set_xlabel(plain(setting), size=9.5)
    legend(figure, handles, [plain(name) for name in curves])
    return figure


def draw_characteristics(
    title: str, panels: Mapping[str, Mapping[str, Points]], styles: Mapping[str, Style], criterion: str
) -> Figure:
    """A panel a characteristic: a criterion's mean over splits against its level, bars one standard deviation.

    Args:
        panels: by characteristic, curves by the name of the line.
    """
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    figure = blank_figure(0.6 + 2.1 * rows + legend_height(names), title)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    handles: dict[str, Any] = {}
    for (characteristic, curves), axes in zip(panels.items(), grid, strict=False):
        for name, points in curves.items():
            handles[name] = _error_bars(axes, points, criterion, styles[name])
        quiet(axes)
        places = sorted({place for points in curves.values() for place in points})
        axes.set_xticks(places, [f"{place:.2g}" for place in places])
        axes.set_title(plain(characteristic.replace("_", " ")), size=10.5)
    for axes in grid:
        axes.set_axis_off()
    figure.supylabel(better(criterion), size=10)
    legend(figure, [handles[name] for name in names], [plain(name) for name in names])
    return figure


def draw_heat_map(
    title: str, settings: tuple[str, str], places: tuple[Sequence[float], Sequence[float]], cells: Mapping[str, Floats]
) -> Figure:
    """A panel a criterion over a grid of two settings; the best cell is framed, a cell without a run left grey.

    Args:
        settings: name of the setting along x, and along y.
        places: its values along x (X), and along y (Y), in order.
        cells: by criterion (Y, X), NaN where there is no run.
    """
    columns, rows = places
    figure = blank_figure(1.5 + min(max(0.36 * len(rows), 1.8), 7), title)
    for axes, (criterion, values) in zip(figure.subplots(1, len(cells), squeeze=False)[0], cells.items(), strict=True):
        image = axes.imshow(values, cmap="cividis", aspect="auto", origin="lower")
        axes.set_facecolor("#dddddd")
        axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
        axes.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
        axes.tick_params(labelsize=9, length=0)
        axes.set_xlabel(plain(settings[0]), size=9.5)
        axes.set_ylabel(plain(settings[1]), size=9.5)
        axes.set_title(better(criterion), size=10.5)
        if len(columns) <= WRITTEN / 2 + 1:
            written_in(axes, values, image, ".3f")
        if not np.isnan(values).all():
            best = np.nanargmax(values if criterion in LARGER_IS_BETTER else -values)
            y, x = np.unravel_index(best, values.shape)
            frame = Rectangle((float(x) - 0.46, float(y) - 0.46), 0.92, 0.92, fill=False)
            frame.set(edgecolor=COLOURS[1], linewidth=2.2)
            axes.add_patch(frame)
        bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02)
        bar.ax.tick_params(labelsize=8.5)
        bar.outline.set_visible(False)
        axes.spines[:].set_visible(False)
    return figure
