"""A table of text, which the terminal, Markdown and the page show alike, and the form of numbers in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table as RichTable
from rich.text import Text

from retdm.display.screen import blocks
from retdm.display.text import as_markdown, printable


def number(value: float | None, digits: int = 3) -> str:
    """``.881``, ``-.012``, ``1.000``, ``30.655``; nothing for what is undefined."""
    if value is None or math.isnan(value):
        return ""
    text = f"{value:z.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def mean_and_std(mean: float | None, std: float | None) -> str:
    """``.881 ± .009``, or the mean alone where there is no deviation."""
    return number(mean) + (f" ± {number(std)}" if number(mean) and number(std) else "")


@dataclass(frozen=True)
class Table:
    """Cells as text.

    Args:
        title: one line above it.
        columns: headings.
        rows: each as long as ``columns``; the first cell says what the row is.
        bold: (row, column) of cells to stand out.
        notes: lines below it.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    bold: set[tuple[int, int]] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def transposed(self) -> "Table":
        """The same with rows and columns changed over; the corner stays."""
        grid = [self.columns, *self.rows]
        turned = [list(column) for column in zip(*grid, strict=True)]
        bold = {(column - 1, row + 1) for row, column in self.bold if column > 0}
        return Table(self.title, turned[0], turned[1:], bold, self.notes)

    def markdown(self) -> str:
        """A table of GitHub's Markdown: title, cells, notes."""

        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cells) + " |"

        rows = [
            line([f"**{cell}**" if (i, j) in self.bold else cell for j, cell in enumerate(map(as_markdown, row))])
            for i, row in enumerate(self.rows)
        ]
        rule = "|" + "|".join(["---", *["---:"] * (len(self.columns) - 1)]) + "|"
        parts = [f"**{as_markdown(self.title)}**", "\n".join([line([*map(as_markdown, self.columns)]), rule, *rows])]
        notes = [f"- {as_markdown(note)}" for note in self.notes]
        return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"

    def rich(self, width: int) -> list[Text | RichTable]:
        """Title and cells for a terminal; what is wider than ``width`` goes on below, after the same first column."""
        return [Text(printable(self.title), style="bold"), *blocks(self.columns, self.rows, width, self.bold)]
