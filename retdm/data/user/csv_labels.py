"""A folder of your own images with their labels in a table: ``<root>/labels.csv``.

One line an image under a line of column names. Separated by commas, semicolons, tabs or ``|``, whichever the first line
has most of (or Excel's ``sep=;`` above it names); UTF-8, with or without a byte order mark. The columns:

``image`` (or ``file``, ``filename``, ``path``, ``fname``, ``file_name``, ``image_name``, …; ``data.image_column``)
    The image's path relative to the folder, with folders where there are any, or absolute and inside it. A name in
    another case, with ``%20`` or without its ending is read as the one file that it can mean, which is logged.
``split``, if you like
    ``train``, ``validation`` (or ``val``) or ``test`` in every line. Without this column the parts are cut at random;
    with it but without ``validation``, that part is cut from ``train``. fastai's ``is_valid`` does as well: its True
    are for testing, as fastai reports on them.
Labels, in one of three forms
    A column a label, with 1 (the image carries it), 0 (it does not) or nothing (unknown, which counts in no loss and no
    criterion); true, yes, false, no, ?, nan and 1.0 are read too, -1 where ``data.minus_one`` says what it means. What
    looks like no label (text, no cell at all, a name like ``note`` or ``checked``) is refused; ``data.label_columns``
    lists the labels, ``data.other_columns`` what is none::

        image,cat,dog,garden
        holiday/1.jpg,1,0,1
        holiday/2.jpg,0,,1

    One column ``labels`` (or ``label``, ``tags``, or the only one of ``data.label_columns``) with names joined by
    semicolons or by ``data.label_separator``, or lists (``['cat', 'garden']``); ``-`` or ``[]`` says that the image
    carries none of the labels, and nothing that its labels are unknown, all of them. The labels are the names found, in
    alphabetical order. Other columns are not read then::

        image,labels
        holiday/1.jpg,cat;garden
        holiday/2.jpg,-

    The same with one line an image and label::

        image,label
        holiday/1.jpg,cat
        holiday/1.jpg,garden

Label names have single spaces and composed letters (NFC), however they are written. Two that differ in upper and lower
case only, or hold control characters, are refused.
"""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retdm.data.images import checked_range
from retdm.data.source import ImageFiles, fingerprint_of
from retdm.data.user import csv_cells, csv_joined
from retdm.data.user.csv_columns import FASTAI, PARTS, find_columns
from retdm.data.user.image_names import ImageNames
from retdm.data.user.label_file import user_files, warn_of_one_class
from retdm.data.user.label_names import some, told_apart
from retdm.data.user.table import Table, read_table
from retdm.errors import UserError

log = logging.getLogger(__name__)
FASTAI_PARTS = {csv_cells.PRESENT: "test", csv_cells.ABSENT: "train"}


class CsvLabels(ImageFiles):
    """Your own images with a table of labels, as a ``Source``.

    Args:
        root: folder of the images.
        labels: the table, relative to ``root`` or absolute.
        image_column: the column of the images' paths; None takes ``image``, ``file`` or another usual name.
        label_columns: the columns that are labels, or the one that holds their names; None takes ``labels``, ``label``
            or ``tags`` where it holds names, else all that are left.
        other_columns: the columns that are no labels. None refuses those that do not look like labels; a list, which
            may be empty, lets all others be labels by whatever name.
        label_separator: what joins names: ``semicolon``, ``comma``, ``pipe``, ``space``, ``tab``, ``newline`` or any
            text. None is a semicolon, and refuses names that look like several.
        empty: what an empty cell says: ``unknown``, or 0 where only ones were written.
        minus_one: what -1 says: ``unknown``, 0 or 1; None refuses it.
        value_range: the values that become black and white, in images of more than 8 bits; see
            :func:`retdm.data.images.read_image`.

    Raises:
        UserError: the table is absent, or something in it is wrong; the first such line is named.
    """

    user_settings = ("root", "labels")
    user_files = staticmethod(user_files)

    def __init__(
        self,
        root: str | None = None,
        labels: str = "labels.csv",
        image_column: str | None = None,
        label_columns: str | Sequence[str] | None = None,
        other_columns: str | Sequence[str] | None = None,
        label_separator: str | None = None,
        empty: str | int = "unknown",
        minus_one: str | int | None = None,
        value_range: Sequence[float] | None = None,
    ) -> None:
        self.folder, file = user_files(root, labels)
        self.value_range = checked_range(value_range)
        table = read_table(file)
        codes = csv_cells.codes_of(table, empty=empty, minus_one=minus_one)
        columns = find_columns(
            *(table, codes, image_column, _listed(label_columns), _listed(other_columns)),
            joined=label_separator is not None,
        )
        images = ImageNames(self.folder)
        self.ids = images.resolve(list(table.cells(columns.image)), lambda i: table.where(i, columns.image), file)
        split = None if columns.split is None else _split(table, columns.split, codes)
        self.names: list[str]
        self.targets: NDArray[np.uint8]
        self.known: NDArray[np.bool_]
        if columns.joined is None:
            _refuse_twice(table, self.ids)
            names, self.targets, self.known = csv_cells.targets_of(table, codes, columns.labels)
            self.names = told_apart(names, file)
            read = "columns"
        else:
            separator = None if label_separator is None else str(label_separator)
            lists = csv_joined.lists_of(table, columns.joined, separator, empty)
            lines = self.ids
            self.ids, lists, first = csv_joined.merged(table, lines, lists)
            self.names, self.targets, self.known = csv_joined.targets_of(table, lists)
            if split is not None:
                _refuse_two_parts(table, lines, first, split)
                split = split[first]
            read = f"names in column {table.columns[columns.joined]!r}"
            if len(self.ids) < len(lines):
                read += f", {len(lines):,} lines of an image and a label"
            taken = {columns.image, columns.split, columns.joined}
            if unread := [name for place, name in enumerate(table.columns) if place not in taken]:
                log.warning("%s: columns that are not read, beside %s: %s", file.name, read, some(unread))
        self.split: NDArray[np.str_] | None = split
        log.info("%s: %s images; labels (%s): %s", file.name, f"{len(self.ids):,}", read, some(self.names, 30))
        if unknown := int((~self.known.any(1)).sum()):
            log.warning("%s: empty cells leave %s images without a known label", file.name, f"{unknown:,}")
        warn_of_one_class(self.names, self.targets, self.known, file)
        images.warn_of_forgotten(self.ids, file)
        self.fingerprint = fingerprint_of("csv", self.folder, self.ids, self.value_range)


def _listed(names: str | Sequence[str] | None) -> list[str] | None:
    return [names] if isinstance(names, str) else None if names is None else list(names)


def _refuse_twice(table: Table, ids: list[str]) -> None:
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        if first.setdefault(name, row) != row:
            raise csv_joined.twice(table, name, first[name], row)


def _refuse_two_parts(table: Table, ids: list[str], first: NDArray[np.int64], split: NDArray[np.str_]) -> None:
    part = {ids[row]: row for row in first.tolist()}
    for row, name in enumerate(ids):
        if split[row] != split[part[name]]:
            lines = f"lines {table.lines[part[name]]} and {table.lines[row]}"
            raise UserError(f"{table.file}: {name} is in {split[part[name]]} and {split[row]} ({lines})", "choose one")


def _split(table: Table, column: int, codes: csv_cells.Codes) -> NDArray[np.str_]:
    """The part of each line; a column ``is_valid`` of fastai gives the test part, for fastai reports on it."""
    fastai = table.columns[column].lower() == FASTAI
    parts = []
    for row, cell in enumerate(table.cells(column)):
        part = FASTAI_PARTS.get(int(codes[row, column])) if fastai else PARTS.get(cell.lower())
        if part is None:
            write = "True or False" if fastai else "train, validation or test"
            raise UserError(
                f"{table.where(row, column)}: {cell!r} is no part",
                f"write {write} in every line, or take the column out",
            )
        parts.append(part)
    for part in ("train", "test"):
        if part not in parts:
            raise UserError(
                f"{table.file}: column {table.columns[column]!r} has no image for {part}",
                f"give {part} to some, or take the column out for a random split",
            )
    if fastai:
        count = f"{parts.count('test'):,}"
        log.warning(
            "%s: the %s images of is_valid are for testing; validation is cut from the others", table.file.name, count
        )
    return np.array(parts)
