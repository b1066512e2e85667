"""Average precision and co-occurrence of labels, drawn from arrays alone. Notation: L labels."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from retdm.display.figure_text import label_names, plain
from retdm.report.figures.style import (
    MOST_LABELS,
    ONE_COLUMN,
    TITLE,
    WIDTH,
    WRITTEN,
    Floats,
    Style,
    blank_figure,
    legend,
    legend_height,
    mean,
    quiet,
    written_in,
)


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
        positives: (L,) test images with the label, mean over splits.
        values: (splits, L) by the name of the mark, NaN where a label has no positive. Dotted: mAP.
    """
    means = {name: np.array([mean(column) for column in rows.T]) for name, rows in values.items()}
    overall = np.array([mean(column) for column in np.stack(list(means.values())).T])
    order = [int(j) for j in np.argsort(-overall, kind="stable") if not np.isnan(overall[j])]
    if len(order) > MOST_LABELS:
        order = [*order[:ONE_COLUMN], *order[-ONE_COLUMN:]]
    columns = -(-len(order) // ONE_COLUMN)
    known_as = label_names(labels, 26 if columns > 1 else 40)
    count = -(-len(order) // columns)
    row = max(0.25, 0.1 + 0.075 * len(values))
    figure = blank_figure(0.9 + row * count + legend_height(list(values)), title)
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
            axes.axvline(mean(means[name]), color=style.colour, linewidth=1, linestyle="dotted", zorder=1)
        names = [f"{known_as[j]}  {positives[j]:.0f}" for j in shown]
        axes.set_yticks(heights, names)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_xlim(max(0, least - 0.03), 1.005)
        quiet(axes)
        axes.grid(visible=False, axis="y")
        for height in heights[::2]:
            axes.axhspan(height - 0.5, height + 0.5, color="#f3f3f3", zorder=0, linewidth=0)
        axes.tick_params(axis="y", length=0, labelsize=9.5 if columns == 1 else 8.5)
        axes.set_xlabel("average precision", size=9.5)
    legend(figure, handles, [plain(name) for name in values])
    return figure


def _range(rows: Floats) -> tuple[Floats, Floats]:
    """Least and greatest of each column of (splits, n), NaN where nothing is known; no warning of empty columns."""
    unknown = np.isnan(rows)
    low, high = np.where(unknown, np.inf, rows).min(axis=0), np.where(unknown, -np.inf, rows).max(axis=0)
    empty = unknown.all(axis=0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def draw_co_occurrence(title: str, names: Sequence[str], true: Floats, predicted: Mapping[str, Floats]) -> Figure:
    """Of the images with the label of a row, the share with a column's as well, in percent.

    Args:
        names: L labels as they are drawn, at most MOST_PAIRED if they are to be read.
        true: (L, L) shares in [0, 1], NaN where no image has the row's label; the diagonal is not read.
        predicted: the same of predicted labels, by name, at most three.
    """
    panels = {"true labels": true, **{f"predicted: {name}": cells for name, cells in predicted.items()}}
    shown = {name: np.where(np.eye(len(names), dtype=bool), np.nan, 100 * cells) for name, cells in panels.items()}
    top = max((float(np.nanmax(cells)) for cells in shown.values() if not np.isnan(cells).all()), default=0.0)
    scale = Normalize(0, max(top, 1.0))
    colour = ScalarMappable(scale, "Blues")
    size = 9 if len(names) <= WRITTEN else 8
    columns = 3 if len(shown) == 3 and len(names) <= 8 else min(len(shown), 2)
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
        if len(names) <= WRITTEN:
            written_in(axes, cells, colour, ".0f")
        off = "" if place == 0 else f"\n{mean(np.abs(cells - shown['true labels']).ravel()):.1f} points off on average"
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
