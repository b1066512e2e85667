"""A label table as text cells in lines and columns."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from retdm.data.user.label_names import tidy
from retdm.errors import UserError

SIGNS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "upright strokes"}
EXCEL = re.compile(r'"?sep=(.)"?[ ,;\t|]*(?:\r?\n|\r)', re.IGNORECASE)  # Excel's own first line


class Table(NamedTuple):
    """``rows[i][c]`` is the cell of line ``lines[i]`` under ``columns[c]``; names are tidy, cells as in the file."""

    file: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]

    def where(self, row: int, column: int) -> str:
        """The place of a cell, for a message."""
        return f"{self.file} line {self.lines[row]}, column {self.columns[column]!r}"

    def cells(self, column: int) -> Iterator[str]:
        """The cells of a column, without the spaces around them."""
        return (row[column].strip() for row in self.rows)


def read_table(file: Path, setting: str = "data.labels") -> Table:
    """The columns and rows of ``file``; empty lines are left out.

    UTF-8, with or without a byte order mark; separated by commas, semicolons, tabs or ``|``, whichever Excel's line
    ``sep=;`` names or else the line of column names has most of.

    Raises:
        UserError: the file (which ``setting`` names) cannot be read, or its lines do not fit its column names.
    """
    text = _text(file, setting)
    head = text.lstrip("\r\n")
    sign, begin = separator_of(head.split("\n", 1)[0] + "\n")
    begin += len(text) - len(head)
    before = line = text.count("\n", 0, begin)
    rows, lines = [], []
    try:
        reader = csv.reader(io.StringIO(text[begin:], newline=""), delimiter=sign, strict=True)
        for row in reader:
            line = reader.line_num + before
            if any(map(str.strip, row)):
                rows.append(row)
                lines.append(line)
    except csv.Error as error:
        raise UserError(
            f"{file} near line {line + 1}: {error}", 'a quote within quotes is written twice ("")'
        ) from error
    if len(rows) < 2:
        raise UserError(f"{file} has no line below its column names", "one line an image: image,cat,dog and 1.jpg,1,0")
    columns, *rows = rows
    columns = [tidy(column, f"{file} line {lines[0]}") for column in columns]
    for line, row in zip(lines[1:], rows, strict=True):
        if len(row) != len(columns):
            raise UserError(
                f"{file} line {line} has {len(row)} cells, expected {len(columns)}: {', '.join(columns[:6])}",
                f"cells are separated by {SIGNS.get(sign, sign)}; put text that has some itself in quotes",
            )
    return Table(file, columns, rows, lines[1:])


def separator_of(first: str) -> tuple[str, int]:
    """The separator of cells by a table's first line, and where the next line begins if that was Excel's, else 0."""
    if excel := EXCEL.match(first):
        return excel[1], excel.end()
    unquoted = re.sub('"[^"]*"', "", first)  # what is quoted separates nothing
    return max(SIGNS, key=unquoted.count), 0


def _text(file: Path, setting: str) -> str:
    try:
        content = file.read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}", f"{setting} names the table") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{file} line {line} is not UTF-8 (byte {content[error.start]:#04x})",
            "save the table as UTF-8 (in Excel: Save as, 'CSV UTF-8')",
        ) from error
