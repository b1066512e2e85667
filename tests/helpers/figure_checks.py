"""Readings of figures for tests."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from retdm.report.figures.shown_groups import Drawn


def panel(drawn: Drawn | Figure, title: str) -> Axes:
    """The axes whose title begins so."""
    figure = drawn.figure if isinstance(drawn, Drawn) else drawn
    assert isinstance(figure, Figure)
    return next(axes for axes in figure.axes if axes.get_title().startswith(title))


def cells(axes: Axes) -> np.ndarray:
    """The numbers of a matrix; NaN where there is none."""
    values = axes.images[0].get_array()
    assert values is not None
    return np.ma.filled(np.ma.asarray(values, dtype=float), np.nan)


def heights(axes: Axes, colour: str) -> list[float]:
    """Of the one line of a colour that has marks."""
    (line,) = (each for each in axes.get_lines() if to_hex(each.get_color()) == colour and each.get_marker() == "o")
    return [float(value) for value in np.asarray(line.get_ydata())]


def assert_nothing_is_cut(figure: Figure) -> None:
    """All that is drawn lies inside the figure."""
    figure.set_dpi(30)
    figure.draw_without_rendering()
    taken = figure.get_tightbbox()
    assert figure.get_figwidth() == 9
    assert taken.x0 >= 0 and taken.y0 >= 0
    assert taken.x1 <= figure.get_figwidth() and taken.y1 <= figure.get_figheight()
