"""The common style of the report's figures: width, colours, quiet axes, legends."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import NDArray

from retdm.criteria import LARGER_IS_BETTER
from retdm.display.figure_text import plain

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


def better(criterion: str) -> str:
    """A criterion's name in words, with the direction in which it improves."""
    return f"{criterion.replace('_', ' ')} {'↑' if criterion in LARGER_IS_BETTER else '↓'}"


def blank_figure(height: float, title: str) -> Figure:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    figure.suptitle(plain(title, 100), **TITLE)
    return figure


def quiet(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(labelsize=9, color="#999999")
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def _legend_columns(names: Sequence[str]) -> int:
    """As many as the longest name leaves room for."""
    return max(1, min(len(names), int(110 / (max(map(len, names)) + 8))))


def legend_height(names: Sequence[str]) -> float:
    """In inches."""
    return 0.2 + 0.22 * -(-len(names) // _legend_columns(names))


def legend(figure: Figure, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Under everything else."""
    columns = _legend_columns(names)
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9.5)


def mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def deviation(values: Floats) -> float:
    """Standard deviation over splits, as the tables have it; 0 of a single one."""
    known = values[~np.isnan(values)]
    return float(known.std(ddof=1)) if known.size > 1 else 0.0


def written_in(axes: Axes, cells: Floats, colour: ScalarMappable, form: str) -> None:
    """Each cell's number in it, black or white by how light the cell is."""
    for (y, x), value in np.ndenumerate(cells):
        if not np.isnan(value):
            red, green, blue, _ = colour.to_rgba(np.array(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
            axes.text(x, y, format(value, form), ha="center", va="center", size=8.5, color="w" if dark else "k")
