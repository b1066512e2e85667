"""The terminal: tables, log lines and progress bars that do not disturb each other, with users' text made safe."""

import logging
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from retdm.display.text import printable

T = TypeVar("T")
BESIDE = 2  # columns between two of a table


def console() -> Console:
    """The console for tables: as wide as the terminal, 120 characters where there is none.

    Text is printed as it is, without ``[markup]`` or ``:emoji:``; in a notebook too, where it stands among other lines.
    """
    width = None if sys.stdout.isatty() else 120
    return Console(highlight=False, markup=False, emoji=False, width=width, force_jupyter=False)


def in_notebook() -> bool:
    """True in a kernel of Jupyter, whose pages show a line that is written over."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


@contextmanager
def muted(*loggers: str, below: int) -> Iterator[None]:
    """A block in which the named loggers say nothing below a level, such as ``logging.ERROR``."""
    found = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in found]
    for logger in found:
        logger.setLevel(below)
    try:
        yield
    finally:
        for logger, level in zip(found, levels, strict=True):
            logger.setLevel(level)


def blocks(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, bold: Set[tuple[int, int]] = frozenset()
) -> list[Table]:
    """Lay a table out for ``width`` characters: further columns follow below, after the same first column.

    Nothing is lost: a first cell of more than half the width is broken into lines.

    Args:
        columns: headings.
        rows: cells, each row as long as ``columns``; the first cell names the row.
        bold: (row, column) of the cells in bold.
    """
    grid = [[printable(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(Text(cell).cell_len for cell in column) for column in zip(*grid, strict=True)]
    first = min(widths[0], max(20, width // 2, width - BESIDE - max(widths[1:], default=0)))
    groups: list[list[int]] = [[]]
    for j in range(1, len(columns)):
        if groups[-1] and first + sum(widths[i] + BESIDE for i in (*groups[-1], j)) > width:
            groups.append([])
        groups[-1].append(j)
    return [_block(grid, [0, *group], first, bold) for group in groups]


def _block(grid: Sequence[Sequence[str]], part: Sequence[int], first: int, bold: Set[tuple[int, int]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for j in part:
        left = {"justify": "left", "max_width": first, "overflow": "fold"}
        right = {"justify": "right", "no_wrap": True}
        table.add_column(Text(grid[0][j]), **(right if j else left))  # type: ignore[arg-type]
    for i, row in enumerate(grid[1:]):
        table.add_row(*(Text(row[j], style="bold" if (i, j) in bold else "") for j in part))
    return table


class Printable(logging.Formatter):
    """A formatter of log lines, in which a user's text can neither move the cursor nor ring the bell."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


class Screen(logging.StreamHandler[Any]):
    """A handler that writes log lines above the progress bars, warnings marked as such, wrapped on a terminal."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.setFormatter(Printable("%(message)s"))

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno >= logging.WARNING:
            text = f"warning: {text}"
        if not self.stream.isatty():
            return text
        width = shutil.get_terminal_size().columns
        pieces = (
            textwrap.wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
            for line in text.split("\n")
        )
        return "\n".join("\n".join(piece) for piece in pieces)

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(self.stream):
            super().emit(record)


@contextmanager
def log_on_screen() -> Iterator[None]:
    """A block whose log is printed: of data which labels were taken, and what may be a mistake."""
    logger, screen = logging.getLogger("retdm"), Screen(sys.stdout)
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(screen)
    try:
        yield
    finally:
        logger.removeHandler(screen)
        logger.setLevel(before[0])  # also forgets what the loggers below remember of the level
        logger.propagate = before[1]


def bar(title: str, total: int | None, **more: Any) -> tqdm:
    """Show a progress bar on standard error if that is a terminal, or in a notebook; it disappears at the end.

    Args:
        title: the name of the work.
        total: number of steps.
        more: further arguments of ``tqdm``.
    """
    return tqdm(
        desc=title,
        total=total,
        leave=False,
        dynamic_ncols=sys.stderr.isatty(),
        file=sys.stderr,
        disable=not (sys.stderr.isatty() or in_notebook()),
        **more,
    )


def track(items: Iterable[T], title: str, total: int | None = None) -> Iterable[T]:
    """Yield the items under a :func:`bar` that counts them."""
    counted: Iterable[T] = bar(title, total, iterable=items)
    return counted
