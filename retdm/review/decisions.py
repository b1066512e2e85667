"""What a person decided about findings: a small csv, compared with the labels that it is about."""

from collections.abc import Sequence
from pathlib import Path

from retdm.data.source import Source
from retdm.data.user.csv_table import Table, read_table
from retdm.display.text import safe_cell
from retdm.errors import UserError
from retdm.review.findings import COLUMNS, image_cell

Changes = dict[tuple[int, int], int]  # (row, column) -> 1 or 0
VALUES = {"": None, "0": 0, "1": 1, "0.0": 0, "1.0": 1}  # spreadsheets write the latter
ANEW = "review the data as it is now: the same command without apply"


def read_decisions(file: Path, source: Source) -> tuple[Changes, int]:
    """(the cells that change and their new values, how many cells were decided).

    The columns are those of ``COLUMNS``, others are not read; a row without a value under ``reviewed`` decides nothing.

    Raises:
        UserError: the file is no such table; or names an image or a label that the data has not, or a cell that it has
            otherwise than when it was reviewed; or decides a cell in two ways.
    """
    table = read_table(file, "apply")
    if absent := [name for name in COLUMNS if name not in table.columns]:
        raise UserError(f"{file} has no column {absent[0]!r}", f"it has the columns {','.join(COLUMNS)}")
    image, label, given, reviewed = (table.columns.index(name) for name in COLUMNS)
    rows = _places([image_cell(source, i) for i in range(len(source))], source.ids)
    columns = _places([safe_cell(name) for name in source.names], source.names)
    decided: Changes = {}
    for place, cells in enumerate(table.rows):
        value = _value(table, place, reviewed)
        if value is None:
            continue
        cell = rows.get(cells[image]), columns.get(cells[label])
        for there, column, what in zip(cell, (image, label), ("image", "label"), strict=True):
            if there is None:
                raise UserError(f"{table.where(place, column)}: the data has no {what} {cells[column]!r}", ANEW)
        i, j = cell
        assert i is not None and j is not None
        now = int(source.targets[i, j]) if source.known[i, j] else None
        if (before := _value(table, place, given)) != now:
            words = {None: "unknown", 0: "0", 1: "1"}
            raise UserError(
                f"{table.where(place, given)}: {cells[label]} of {cells[image]} was {words[before]} when it was "
                f"reviewed, and is {words[now]} now",
                ANEW,
            )
        if decided.setdefault((i, j), value) != value:
            raise UserError(f"{table.where(place, reviewed)}: decided otherwise in another line", "keep one of them")
    unknown, targets = ~source.known, source.targets
    changes = {cell: value for cell, value in decided.items() if unknown[cell] or targets[cell] != value}
    return changes, len(decided)


def _places(cells: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Where each name stands, as it is and as a table has it."""
    return {text: place for texts in (cells, names) for place, text in enumerate(texts)}


def _value(table: Table, row: int, column: int) -> int | None:
    cell = table.rows[row][column].strip()
    if cell not in VALUES:
        raise UserError(f"{table.where(row, column)}: {cell[:40]!r} is neither 0, 1 nor empty", ANEW)
    return VALUES[cell]
