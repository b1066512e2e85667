"""Curves as a page draws them: places in percent of a chart, so that it has any width and both colour schemes."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

Points = Sequence[tuple[float, float]]

MARKED = 40  # points of a line that are marked one by one


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
        kind: its class in the style sheet: ``one`` or ``two``, and ``dashed``.
        points: ``x,y x,y …`` in percent from the upper left corner.
        marks: the same as a path of dots; empty where there are many points.
    """

    kind: str
    points: str
    marks: str


class Chart(NamedTuple):
    """A chart before it is written; places are percent of its width and height, from the lower left corner.

    Attributes:
        title: above it.
        note: below the title.
        says: what a reader of the page hears in its place.
        lines: of it.
        x_ticks, y_ticks: (place, text).
        bands: (left end, width) of stretches of the x axis, which are numbered.
    """

    title: str
    note: str
    says: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    bands: list[tuple[float, float]] = []


class Scale(NamedTuple):
    """The numbers between two ends of an axis."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """In percent."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def ticks(self, most: int = 5) -> list[tuple[float, str]]:
        """At most so many round numbers with their places."""
        step = _round_step((self.high - self.low) / max(most - 1, 1))
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(self.place(i * step), f"{i * step:.{digits}f}") for i in range(first, last + 1)]


def around(values: Iterable[float], low: float | None = None, high: float | None = None) -> Scale:
    """The scale of some values with round ends, or with the ends given."""
    found = list(values)
    bottom = min(found, default=0.0) if low is None else low
    top = max(found, default=1.0) if high is None else high
    if top <= bottom and high is None:
        top = bottom + 1
    elif top <= bottom:
        bottom = top - 1
    step = _round_step((top - bottom) / 4)
    return Scale(
        math.floor(bottom / step + 1e-9) * step if low is None else low,
        math.ceil(top / step - 1e-9) * step if high is None else high,
    )


def _round_step(least: float) -> float:
    """The next of 1, 2, 5, 10, … times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * (1 - 1e-9))


def line(kind: str, points: Points, x: Scale, y: Scale, *, marked: bool = True) -> Line:
    """A line through points, dots on it where there are few."""
    places = [(x.place(a), round(100 - y.place(b), 2)) for a, b in points]
    text = [f"{a:g},{b:g}" for a, b in places]
    marks = "".join(f"M{place}h0" for place in text) if marked and len(text) <= MARKED else ""
    return Line(kind, " ".join(text), marks)
