"""A folder of your own images with their labels in a table: ``<root>/labels.csv``.

One line an image under a line of column names. Separated by commas, semicolons or tabs, whichever the first line has
most of; UTF-8, with or without a byte order mark. The columns:

``image`` (or ``file``, ``filename``, ``path``; ``data.image_column`` names another)
    The image's path relative to the folder, with folders where there are any.
``split``, if you like
    ``train``, ``validation`` (or ``val``) or ``test`` in every line. Without this column the parts are cut at random;
    with it but without ``validation``, that part is cut from ``train``.
Labels, in one of two forms
    A column a label, with 1 (the image carries it), 0 (it does not) or nothing (unknown, which counts in no loss and no
    criterion)::

        image,cat,dog,garden
        holiday/1.jpg,1,0,1
        holiday/2.jpg,0,,1

    Or one column ``labels`` with names joined by semicolons; ``-`` says that the image carries none of the labels, and
    nothing that its labels are unknown, all of them. The labels are the names found, in alphabetical order. Other
    columns are not read then::

        image,labels
        holiday/1.jpg,cat;garden
        holiday/2.jpg,-
"""

import csv
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retdm.data.own_images import fingerprint_with_labels, inside, own_files, warn_of_forgotten, warn_of_one_class
from retdm.data.source import read_image
from retdm.errors import UserError

log = logging.getLogger(__name__)

IMAGE_COLUMNS = ("image", "file", "filename", "path")
PARTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
CELLS = {"1": 1, "0": 0, "": -1, "1.0": 1, "0.0": 0}  # pandas writes 1.0 and 0.0 as soon as a column has an empty cell
NONE = "-"
SIGNS = {",": "commas", ";": "semicolons", "\t": "tabs"}


class Table(NamedTuple):
    """A label file as text: ``rows[i][c]`` is the cell of line ``lines[i]`` under ``columns[c]``."""

    file: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]

    def cells(self, column: int) -> Iterator[tuple[str, str]]:
        """(where it stands, text) of every cell of a column."""
        for line, row in zip(self.lines, self.rows, strict=True):
            yield f"{self.file} line {line}, column {self.columns[column]!r}", row[column]


class CsvLabels:
    """Your own images with a table of labels, as a ``Source``.

    Args:
        root: folder of the images.
        labels: the table, relative to ``root`` or absolute.
        image_column: the column of the images' paths; None takes ``image``, ``file``, ``filename`` or ``path``.

    Raises:
        UserError: the table is absent, or something in it is wrong; the first such line is named.
    """

    own_files = staticmethod(own_files)

    def __init__(self, root: str | None = None, labels: str = "labels.csv", image_column: str | None = None) -> None:
        self.folder, file = own_files(root, labels)
        table = read_table(file)
        image, split, listed = _find_columns(table, image_column)
        self.ids = _images(table, image, self.folder)
        self.split: NDArray[np.str_] | None = None if split is None else _split(table, split)
        self.names: list[str]
        self.targets: NDArray[np.uint8]
        self.known: NDArray[np.bool_]
        if listed is None:
            columns = [column for column in range(len(table.columns)) if column not in (image, split)]
            self.names, self.targets, self.known = _from_cells(table, columns)
        else:
            self.names, self.targets, self.known = _from_lists(table, listed)
            if unread := [table.columns[c] for c in range(len(table.columns)) if c not in (image, split, listed)]:
                log.warning("%s: columns that are not read, beside 'labels': %s", file.name, ", ".join(unread))
        if unknown := int((~self.known.any(1)).sum()):
            log.warning("%s: empty cells leave %s images without a known label", file.name, f"{unknown:,}")
        warn_of_one_class(self.names, self.targets, self.known, file)
        warn_of_forgotten(self.folder, self.ids, file)
        self.fingerprint = fingerprint_with_labels("csv", self.folder, self.ids, self.names, self.targets, self.known)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, i: int) -> Image.Image:
        """Image i, mode RGB, upright. Raises ``UnreadableImage``."""
        return read_image(self.folder / self.ids[i])


def read_table(file: Path) -> Table:
    """The columns and rows of ``file``, cells stripped, empty lines left out. Raises ``UserError``."""
    try:
        content = file.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}", "data.labels names the table") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{file} line {line} is not UTF-8 (byte {content[error.start]:#04x})",
            "save the table as UTF-8 (in Excel: Save as, 'CSV UTF-8')",
        ) from error
    first = re.sub('"[^"]*"', "", text.lstrip("\r\n").split("\n", 1)[0])  # what stands in quotes separates nothing
    sign = max(SIGNS, key=first.count)
    line = 0
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=sign, strict=True)
        rows, lines = [], []
        for row in reader:
            line = reader.line_num
            if any(cell.strip() for cell in row):
                rows.append([cell.strip() for cell in row])
                lines.append(line)
    except csv.Error as error:
        raise UserError(
            f"{file} near line {line + 1}: {error}", 'a quote within quotes is written twice ("")'
        ) from error
    if len(rows) < 2:
        raise UserError(f"{file} has no line below its column names", "one line an image: image,cat,dog and 1.jpg,1,0")
    columns, *rows = rows
    for line, row in zip(lines[1:], rows, strict=True):
        if len(row) != len(columns):
            raise UserError(
                f"{file} line {line} has {len(row)} cells, expected {len(columns)}: {', '.join(columns[:6])}",
                f"cells are separated by {SIGNS[sign]}; put text that has some itself in quotes",
            )
    return Table(file, columns, rows, lines[1:])


def _find_columns(table: Table, image_column: str | None) -> tuple[int, int | None, int | None]:
    """Where the images' paths, the split and the joined labels stand; the latter two may be nowhere."""
    columns, lower = table.columns, [column.lower() for column in table.columns]
    if image_column is not None:
        wanted = [image_column] if image_column in columns else []
    else:
        wanted = [columns[lower.index(name)] for name in IMAGE_COLUMNS if name in lower]
    if not wanted:
        looked_for = image_column or ", ".join(IMAGE_COLUMNS)
        raise UserError(
            f"{table.file} has no image column ({looked_for}); its first line has: {', '.join(columns[:8])}",
            "data.image_column=<name> says which column has the images' paths",
        )
    for place, column in enumerate(columns):
        if not column or column in columns[:place]:
            what = f"a second column {column!r}" if column else f"no name for column {place + 1}"
            raise UserError(
                f"{table.file} has {what} in its first line",
                "give every column one name of its own (pandas: to_csv(…, index=False) writes no nameless column)",
            )
    image = columns.index(wanted[0])
    split = lower.index("split") if "split" in lower else None
    listed = lower.index("labels") if "labels" in lower else None
    if len(columns) == 1 + (split is not None):
        raise UserError(
            f"{table.file} has no label column; its first line has: {', '.join(columns)}",
            "add a column of 0 and 1 for each label, or one column 'labels' of names joined by ;",
        )
    return image, split, listed


def _images(table: Table, column: int, folder: Path) -> list[str]:
    lines: dict[str, int] = {}
    for line, (where, cell) in zip(table.lines, table.cells(column), strict=True):
        name = inside(folder, cell, where)
        if name in lines:
            raise UserError(f"{table.file} names {name} in lines {lines[name]} and {line}", "keep one line an image")
        lines[name] = line
    return list(lines)


def _split(table: Table, column: int) -> NDArray[np.str_]:
    parts = []
    for where, cell in table.cells(column):
        if cell.lower() not in PARTS:
            raise UserError(
                f"{where}: {cell!r} is no part", "write train, validation or test in every line, or take the column out"
            )
        parts.append(PARTS[cell.lower()])
    for part in ("train", "test"):
        if part not in parts:
            raise UserError(
                f"{table.file}: column {table.columns[column]!r} has no image for {part}",
                f"give {part} to some, or take the column out for a random split",
            )
    return np.array(parts)


def _from_cells(table: Table, columns: list[int]) -> tuple[list[str], NDArray[np.uint8], NDArray[np.bool_]]:
    """(names, targets, known) from a column of 0, 1 and nothing a label."""
    values = np.empty((len(table.rows), len(columns)), np.int8)
    for place, column in enumerate(columns):
        for row, (where, cell) in enumerate(table.cells(column)):
            if cell not in CELLS:
                raise UserError(
                    f"{where}: {cell!r} is neither 0, 1 nor empty",
                    "every column but those of image and split is a label; take out those that are none, "
                    "or join the labels' names in one column 'labels'",
                )
            values[row, place] = CELLS[cell]
    return [table.columns[column] for column in columns], (values == 1).astype(np.uint8), values >= 0


def _from_lists(table: Table, column: int) -> tuple[list[str], NDArray[np.uint8], NDArray[np.bool_]]:
    """(names, targets, known) from one column of names joined by semicolons."""
    lists: list[list[str]] = []
    for where, cell in table.cells(column):
        found = [name.strip() for name in cell.split(";")] if cell not in ("", NONE) else []
        if "" in found or NONE in found:
            raise UserError(
                f"{where}: {cell!r} has {'an empty name' if '' in found else 'a name beside -'}",
                "write cat;dog, - for an image without any of the labels, nothing where they are unknown",
            )
        lists.append(found)
    names = sorted({name for found in lists for name in found})
    if not names:
        raise UserError(f"{table.file}: column {table.columns[column]!r} names no label", "write cat;dog")
    place = {name: column for column, name in enumerate(names)}
    targets = np.zeros((len(lists), len(names)), np.uint8)
    for row, found in enumerate(lists):
        targets[row, [place[name] for name in found]] = 1
    empty = np.array([cell == "" for _, cell in table.cells(column)])
    return names, targets, np.repeat(~empty[:, None], len(names), axis=1)
