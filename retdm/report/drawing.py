"""Figures drawn from arrays alone, as wide as a README shows them. Letters: L labels."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from retdm.criteria import LARGER_IS_BETTER

Floats = NDArray[np.float64]

WIDTH = 9.0  # inches: 900 pixels at the 100 dots an inch that the font sizes are meant for
# Okabe and Ito's colours, which colour-blind readers tell apart as well.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("solid", "dashed", "dotted", "dashdot")
QUIET, GRID = "#555555", "#e4e4e4"
# On the left, where a narrow screen begins.
TITLE: dict[str, Any] = {"size": 12, "weight": "bold", "x": 0.012, "ha": "left"}
NUMBER: dict[str, Any] = {"size": 9, "color": QUIET, "ha": "center", "va": "bottom"}
ONE_COLUMN = 41  # labels that stand under each other
MOST_LABELS = 2 * ONE_COLUMN
MOST_PAIRED = 24  # labels of a co-occurrence matrix: names beside more could not be read
WRITTEN = 12  # rows or columns up to which a cell's number is written in it


class Style(NamedTuple):
    """How one thing looks in every figure."""

    colour: str
    marker: str
    dashes: Any


class History(NamedTuple):
    """One training, by epoch counted from 1; the last three are empty where nothing was logged.

    Attributes:
        stages: (name, first epoch, last epoch) in order.
        train_loss, validation_loss, validation_map: value by epoch.
    """

    stages: list[tuple[str, int, int]]
    train_loss: dict[int, float]
    validation_loss: dict[int, float]
    validation_map: dict[int, float]


def styles_of(names: Sequence[tuple[str, str]], methods: Sequence[str]) -> dict[str, Style]:
    """A style for each (method, name): methods differ in colour, the names of one method in marker and dashes.

    Args:
        methods: all of a report, in one order, so that a method has its colour in every figure.
    """
    styles: dict[str, Style] = {}
    seen = dict.fromkeys(methods, 0)
    for method, name in names:
        turn, colour = divmod(methods.index(method), len(COLOURS))
        place = seen[method] + turn
        seen[method] += 1
        styles[name] = Style(COLOURS[colour], MARKERS[place % len(MARKERS)], DASHES[place % len(DASHES)])
    return styles


def plain(text: str, most: int = 60) -> str:
    """A text on one line, cut to ``most`` characters, in which Matplotlib sees no mathematics."""
    text = " ".join(text.split())
    return (text if len(text) <= most else text[: most - 1] + "…").replace("$", r"\$")


def better(criterion: str) -> str:
    """A criterion's name in words, with the direction in which it improves."""
    return f"{criterion.replace('_', ' ')} {'↑' if criterion in LARGER_IS_BETTER else '↓'}"


def _figure(height: float, title: str) -> Figure:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    figure.suptitle(plain(title, 100), **TITLE)
    return figure


def _quiet(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(labelsize=9, color="#999999")
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def _legend_columns(names: Sequence[str]) -> int:
    """As many as the longest name leaves room for."""
    return max(1, min(len(names), int(110 / (max(map(len, names)) + 8))))


def _legend_height(names: Sequence[str]) -> float:
    """In inches."""
    return 0.2 + 0.22 * -(-len(names) // _legend_columns(names))


def _legend(figure: Figure, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Under everything else."""
    columns = _legend_columns(names)
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9.5)


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _deviation(values: Floats) -> float:
    """Standard deviation over splits, as the tables have it; 0 of a single one."""
    known = values[~np.isnan(values)]
    return float(known.std(ddof=1)) if known.size > 1 else 0.0


Points = Mapping[float, Mapping[str, Floats]]
"""What was measured at each place of an axis: criterion -> (splits,)."""


def _error_bars(axes: Axes, points: Points, criterion: str, style: Style) -> Any:
    places = sorted(points)
    found = [np.asarray(points[place][criterion], float) for place in places]
    return axes.errorbar(
        places,
        [_mean(values) for values in found],
        yerr=[_deviation(values) for values in found],
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
    figure = _figure(5.4, title)
    panels = figure.subplots(2, 3).flat
    places = sorted({place for points in curves.values() for place in points})
    handles: list[Any] = []
    for criterion, axes in zip(criteria, panels, strict=False):  # in this order, or a panel is lost at the end
        handles = [_error_bars(axes, points, criterion, styles[name]) for name, points in curves.items()]
        _quiet(axes)
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
    title: str, setting: str, curves: Mapping[str, Points], styles: Mapping[str, Style], criteria: Sequence[str]
) -> Figure:
    """A panel a criterion: its mean over splits against one numeric setting, bars one standard deviation."""
    figure = _figure(3 + _legend_height(list(curves)), title)
    places = sorted({place for points in curves.values() for place in points})
    positive = [place for place in places if place > 0]
    for axes, criterion in zip(figure.subplots(1, len(criteria), squeeze=False)[0], criteria, strict=True):
        handles = [_error_bars(axes, points, criterion, styles[name]) for name, points in curves.items()]
        _quiet(axes)
        if positive and positive[-1] >= 8 * positive[0]:
            # Loss weights are tried in powers, and 0 among them.
            axes.set_xscale("symlog", linthresh=positive[0])
            axes.xaxis.set_minor_locator(NullLocator())
        if len(places) <= 9:
            axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.set_title(better(criterion), size=10.5)
        axes.set_xlabel(plain(setting), size=9.5)
    _legend(figure, handles, [plain(name) for name in curves])
    return figure


def draw_difficulties(
    title: str, panels: Mapping[str, Mapping[str, Points]], styles: Mapping[str, Style], criterion: str
) -> Figure:
    """A panel a difficulty: a criterion's mean over splits against its level, bars one standard deviation.

    Args:
        panels: by difficulty, curves by the name of the line.
    """
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    figure = _figure(0.6 + 2.1 * rows + _legend_height(names), title)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    handles: dict[str, Any] = {}
    for (difficulty, curves), axes in zip(panels.items(), grid, strict=False):
        for name, points in curves.items():
            handles[name] = _error_bars(axes, points, criterion, styles[name])
        _quiet(axes)
        places = sorted({place for points in curves.values() for place in points})
        axes.set_xticks(places, [f"{place:.2g}" for place in places])
        axes.set_title(plain(difficulty.replace("_", " ")), size=10.5)
    for axes in grid:
        axes.set_axis_off()
    figure.supylabel(better(criterion), size=10)
    _legend(figure, [handles[name] for name in names], [plain(name) for name in names])
    return figure


def _written_in(axes: Axes, cells: Floats, colour: ScalarMappable, form: str) -> None:
    """Each cell's number in it, black or white by how light the cell is."""
    for (y, x), value in np.ndenumerate(cells):
        if not np.isnan(value):
            red, green, blue, _ = colour.to_rgba(np.array(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
            axes.text(x, y, format(value, form), ha="center", va="center", size=8.5, color="w" if dark else "k")


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
    figure = _figure(1.5 + min(max(0.36 * len(rows), 1.8), 7), title)
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
            _written_in(axes, values, image, ".3f")
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


def draw_convergence(title: str, histories: Mapping[str, History], styles: Mapping[str, Style]) -> Figure:
    """A row a training: losses on the left, validation mAP on the right, its stages as numbered bands.

    The training loss is broken between stages, for another sum of losses begins there.
    """
    figure = _figure(0.6 + 2.45 * len(histories), title)
    last = max(end for history in histories.values() for _, _, end in history.stages)
    grid = figure.subplots(len(histories), 2, squeeze=False, sharex=True)
    scores = [value for history in histories.values() for value in history.validation_map.values()]
    bottom = min(scores, default=0.0)
    for (left, right), (name, history) in zip(grid, histories.items(), strict=True):
        colour = styles[name].colour
        style: dict[str, Any] = {"linewidth": 1.7, "marker": "o", "markersize": 3 if last <= 40 else 0}
        for stage, (_, first, end) in enumerate(history.stages):
            for values, line in ((history.train_loss, "solid"), (history.validation_loss, "dashed")):
                epochs = [epoch for epoch in sorted(values) if first <= epoch <= end]
                shown = "w" if line == "dashed" else colour
                label = f"{'training' if line == 'solid' else 'validation'} loss" if stage == 0 else None
                heights = [values[epoch] for epoch in epochs]
                left.plot(epochs, heights, linestyle=line, color=colour, markerfacecolor=shown, label=label, **style)
        epochs = sorted(history.validation_map)
        right.plot(epochs, [history.validation_map[epoch] for epoch in epochs], color=colour, **style)
        left.set_ylim(bottom=0)
        right.set_ylim(bottom - 0.05 * (1 - bottom), 1)
        left.legend(frameon=False, fontsize=8.5, loc="upper right")
        right.set_ylabel("validation mAP", size=9.5)
        left.set_ylabel("loss", size=9.5)
        stages = ", ".join(
            f"{place} {stage.replace('_', ' ')}" for place, (stage, _, _) in enumerate(history.stages, 1)
        )
        left.set_title(plain(f"{name}: {stages}", 110), size=10.5, loc="left", color=colour, weight="bold", pad=18)
        for axes in (left, right):
            _quiet(axes)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlim(0.5, last + 0.5)
            for place, (_, first, end) in enumerate(history.stages, 1):
                if place % 2:
                    axes.axvspan(first - 0.5, end + 0.5, color="#f1f1f1", zorder=0, linewidth=0)
                middle = (first + end) / 2
                axes.text(middle, 1.01, str(place), transform=axes.get_xaxis_transform(), **NUMBER)
    for axes in grid[-1]:
        axes.set_xlabel("epoch", size=9.5)
    return figure


def draw_label_precision(
    title: str,
    labels: Sequence[str],
    positives: Sequence[float],
    values: Mapping[str, Floats],
    styles: Mapping[str, Style],
) -> Figure:
    """Average precision of each label, best first: a mark at the mean over splits, a line from least to greatest.

    Args:
        labels: L names.
        positives: (L,) test images that carry the label, mean over splits.
        values: (splits, L) by the name of the mark, NaN where a label has no positive. Dotted: mAP.
    """
    means = {name: np.array([_mean(column) for column in rows.T]) for name, rows in values.items()}
    overall = np.array([_mean(column) for column in np.stack(list(means.values())).T])
    order = [int(j) for j in np.argsort(-overall, kind="stable") if not np.isnan(overall[j])]
    if len(order) > MOST_LABELS:
        order = [*order[:ONE_COLUMN], *order[-ONE_COLUMN:]]
    columns = -(-len(order) // ONE_COLUMN)
    count = -(-len(order) // columns)
    row = max(0.25, 0.1 + 0.075 * len(values))
    figure = _figure(0.9 + row * count + _legend_height(list(values)), title)
    # One scale for both columns, or the eye compares what cannot be compared.
    least = float(np.nanmin(np.concatenate(list(values.values()))[:, order]))
    for place, axes in enumerate(figure.subplots(1, columns, squeeze=False)[0]):
        shown = order[place * count : (place + 1) * count]
        heights = np.arange(len(shown))
        handles = []
        for turn, (name, rows) in enumerate(values.items()):
            at = heights + (turn - (len(values) - 1) / 2) * 0.7 / len(values)
            here = rows[:, shown]
            style = styles[name]
            low, high = _range(here)
            axes.hlines(at, low, high, color=style.colour, linewidth=1.5, alpha=0.6)
            handles += axes.plot(means[name][shown], at, style.marker, color=style.colour, markersize=5)
            axes.axvline(_mean(means[name]), color=style.colour, linewidth=1, linestyle="dotted", zorder=1)
        names = [f"{plain(labels[j], 26 if columns > 1 else 40)}  {positives[j]:.0f}" for j in shown]
        axes.set_yticks(heights, names)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_xlim(max(0, least - 0.03), 1.005)
        _quiet(axes)
        axes.grid(visible=False, axis="y")
        for height in heights[::2]:
            axes.axhspan(height - 0.5, height + 0.5, color="#f3f3f3", zorder=0, linewidth=0)
        axes.tick_params(axis="y", length=0, labelsize=9.5 if columns == 1 else 8.5)
        axes.set_xlabel("average precision", size=9.5)
    _legend(figure, handles, [plain(name) for name in values])
    return figure


def _range(rows: Floats) -> tuple[Floats, Floats]:
    """Least and greatest of each column of (splits, n), NaN where nothing is known; no warning of empty columns."""
    unknown = np.isnan(rows)
    low, high = np.where(unknown, np.inf, rows).min(axis=0), np.where(unknown, -np.inf, rows).max(axis=0)
    empty = unknown.all(axis=0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def draw_co_occurrence(title: str, labels: Sequence[str], true: Floats, predicted: Mapping[str, Floats]) -> Figure:
    """Of the images that carry the label of a row, the share that carry a column's as well, in percent.

    Args:
        labels: L names, at most MOST_PAIRED if they are to be read.
        true: (L, L) shares in [0, 1], NaN where no image carries the row's label; the diagonal is not read.
        predicted: the same of predicted labels, by name, at most three.
    """
    panels = {"true labels": true, **{f"predicted: {name}": cells for name, cells in predicted.items()}}
    shown = {name: np.where(np.eye(len(labels), dtype=bool), np.nan, 100 * cells) for name, cells in panels.items()}
    top = max((float(np.nanmax(cells)) for cells in shown.values() if not np.isnan(cells).all()), default=0.0)
    scale = Normalize(0, max(top, 1.0))
    colour = ScalarMappable(scale, "Blues")
    names, size = [plain(label, 18) for label in labels], 9 if len(labels) <= WRITTEN else 8
    columns = 3 if len(shown) == 3 and len(labels) <= 8 else min(len(shown), 2)
    lines = -(-len(shown) // columns)
    # In inches, for Matplotlib's own layouts do not know how large square panels will be.
    words = 0.18 + max(TextPath((0, 0), name, size=size).get_extents().width for name in names) / 72
    head, above, gap, bar = 0.4, 0.6, 0.15, 0.85
    side = (WIDTH - words - bar - columns * gap) / columns
    height = head + lines * (above + side) + words + 0.1
    figure = Figure(figsize=(WIDTH, height))
    figure.suptitle(plain(title, 100), **TITLE, y=1 - 0.12 / height, va="top")
    for place, (name, cells) in enumerate(shown.items()):
        line, column = divmod(place, columns)
        x, y = words + column * (side + gap), height - head - (line + 1) * (above + side)
        axes = figure.add_axes((x / WIDTH, y / height, side / WIDTH, side / height))
        axes.imshow(cells, cmap=colour.cmap, norm=scale)
        axes.set_facecolor("#d4d4d4")
        axes.tick_params(labelsize=size, length=0)
        axes.spines[:].set_visible(False)
        if len(labels) <= WRITTEN:
            _written_in(axes, cells, colour, ".0f")
        off = "" if place == 0 else f"\n{_mean(np.abs(cells - shown['true labels']).ravel()):.1f} points off on average"
        axes.set_title(plain(name, 36 if columns < 3 else 28) + off, size=10)
        axes.set_xticks(range(len(names)), names if place + columns >= len(shown) else [], rotation=90)
        axes.set_yticks(range(len(names)), names if column == 0 else [])
    beside = figure.add_axes(
        ((WIDTH - bar + 0.1) / WIDTH, (height - head - above - side) / height, 0.14 / WIDTH, side / height)
    )
    figure.colorbar(colour, cax=beside)
    beside.set_ylabel("% of the row's images", size=9)
    beside.tick_params(labelsize=8.5)
    beside.spines[:].set_visible(False)
    return figure
