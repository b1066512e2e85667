"""The user's own images with their labels in a table: ``<root>/labels.csv``.

One line an image under a line of column names. Separated by commas, semicolons, tabs or ``|``, whichever the first line
has most of (or Excel's ``sep=;`` above it names); UTF-8, with or without a byte order mark. The columns:

``image`` (or ``file``, ``filename``, ``path``, ``fname``, ``file_name``, ``image_name``, …; ``data.image_column``)
    The image's path relative to the folder, with folders where there are any, or absolute and inside it. A name in
    another case, with ``%20`` or without its ending is read as the one file that it can mean, which is logged.
``split``, if you like
    ``train``, ``validation`` (or ``val``) or ``test`` in every line. Without this column the splits are random; with it
    but without ``validation``, that split is taken off ``train``. fastai's ``is_valid`` does as well: its True are for
    testing, as fastai reports on them.
any column that ``data.group`` names
    The patient, site or shoot of an image, or whatever else images share that must not be in two splits; an image with
    an empty cell belongs to no other.
Labels, in one of three forms
    A column a label, with 1 (the image has it), 0 (it has not) or nothing (unknown, which counts in no loss and no
    criterion); true, yes, false, no, ?, nan and 1.0 are read too, -1 where ``data.minus_one`` gives its meaning. A
    column that does not look like a label (text, no cell at all, a name like ``note`` or ``checked``) is refused;
    ``data.label_columns`` lists the labels, ``data.other_columns`` the columns that are none::

        image,cat,dog,garden
        holiday/1.jpg,1,0,1
        holiday/2.jpg,0,,1

    One column ``labels`` (or ``label``, ``tags``, or the only one of ``data.label_columns``) with names joined by
    semicolons or by ``data.label_separator``, or lists (``['cat', 'garden']``); ``-`` or ``[]`` means that the image
    has none of the labels, and an empty cell that all its labels are unknown. The labels are the names found, in
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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retdm.data.user import csv_cells, csv_joined
from retdm.data.user.csv_cells import Meaning
from retdm.data.user.csv_columns import FASTAI, SPLIT_WORDS, as_setting, find_columns, group_like
from retdm.data.user.csv_groups import groups_of, numbered
from retdm.data.user.csv_table import Table, read_table
from retdm.data.user.image_names import ImageNames
from retdm.data.user.label_file import LabelledFolder
from retdm.data.user.label_names import distinct, some
from retdm.errors import UserError

log = logging.getLogger(__name__)
FASTAI_SPLITS = {csv_cells.PRESENT: "test", csv_cells.ABSENT: "train"}


class CsvLabels(LabelledFolder):
    """The images and labels of a table as a ``Source``.

    Args:
        root, labels, value_range: see :class:`LabelledFolder`.
        image_column: the column of the images' paths; None takes ``image``, ``file`` or another usual name.
        label_columns: the columns that are labels, or the one that holds their names; None takes ``labels``, ``label``
            or ``tags`` where it holds names, else all that are left.
        other_columns: the columns that are no labels. None refuses those that do not look like labels; a list, which
            may be empty, lets all others be labels by whatever name.
        label_separator: the sign between names: ``semicolon``, ``comma``, ``pipe``, ``space``, ``tab``, ``newline`` or
            any text. None is a semicolon, and refuses names that look like several.
        group: the column whose images of one cell stay in one split, a patient's or a shoot's; None groups none.
        empty: the meaning of an empty cell of a label: ``unknown``, or 0 where only ones were written.
        minus_one: the meaning of -1; None refuses it.

    Attributes:
        settings: of the constructor, but for the places of images and table.
        columns: the columns of the table by number.
        row_of_line: int64, the row of the source that each line of the table is of.
        unknown_by_row: labels are joined names, so that of an image all are unknown or none.

    Raises:
        UserError: the table is absent, or something in it is wrong; the first such line is named.
    """

    def __init__(
        self,
        root: str | None = None,
        labels: str = "labels.csv",
        image_column: str | None = None,
        label_columns: str | Sequence[str] | None = None,
        other_columns: str | Sequence[str] | None = None,
        label_separator: str | None = None,
        group: str | None = None,
        empty: Meaning = "unknown",
        minus_one: Meaning | None = None,
        value_range: Sequence[float] | None = None,
    ) -> None:
        super().__init__(root, labels, value_range)
        file = self.file
        self.settings: dict[str, Any] = {
            "image_column": image_column,
            "label_columns": label_columns,
            "other_columns": other_columns,
            "label_separator": None if label_separator is None else str(label_separator),
            "group": group,
            "empty": empty,
            "minus_one": minus_one,
            "value_range": value_range,
        }
        table = read_table(file)
        codes = csv_cells.codes_of(table, empty=empty, minus_one=minus_one)
        self.columns = columns = find_columns(
            *(table, codes, image_column, _listed(label_columns), _listed(other_columns)),
            joined=label_separator is not None,
            group=group,
        )
        images = ImageNames(self.folder)
        self.ids = images.resolve(list(table.cells(columns.image)), lambda i: table.where(i, columns.image), file)
        split = None if columns.split is None else _split(table, columns.split, codes)
        groups = None if columns.group is None else groups_of(table, columns.group)
        self.names: list[str]
        self.targets: NDArray[np.uint8]
        self.known: NDArray[np.bool_]
        if columns.joined is None:
            _refuse_twice(table, self.ids)
            names, self.targets, self.known = csv_cells.targets_of(table, codes, columns.labels)
            self.names = distinct(names, file)
            self.row_of_line = np.arange(len(self.ids))
            form = "columns"
        else:
            self.unknown_by_row = True
            lists = csv_joined.lists_of(table, columns.joined, self.settings["label_separator"], empty)
            lines = self.ids
            self.ids, lists, first = csv_joined.merged(table, lines, lists)
            row_of = {name: row for row, name in enumerate(self.ids)}
            self.row_of_line = np.array([row_of[name] for name in lines])
            self.names, self.targets, self.known = csv_joined.targets_of(table, lists)
            if split is not None:
                _refuse_two(table, lines, first, split)
                split = split[first]
            if groups is not None:
                _refuse_two(table, lines, first, groups)
                groups = groups[first]
            form = f"names in column {table.columns[columns.joined]!r}"
            if len(self.ids) < len(lines):
                form += f", {len(lines):,} lines of an image and a label"
            taken = {columns.image, columns.split, columns.group, columns.joined}
            if unread := [name for place, name in enumerate(table.columns) if place not in taken]:
                hint = "".join(
                    f"; {as_setting('group', [name])} keeps images of one together" for name in group_like(unread)[:1]
                )
                log.warning("%s: columns that are not read, beside %s: %s%s", file.name, form, some(unread), hint)
        self.split = split
        if groups is not None:
            self.group_of = numbered(table, groups, split, self.ids)
        self.finish("csv", form, images)
        if unknown := int((~self.known.any(1)).sum()):
            log.warning("%s: empty cells leave %s images without a known label", file.name, f"{unknown:,}")


def _listed(names: str | Sequence[str] | None) -> list[str] | None:
    return [names] if isinstance(names, str) else None if names is None else list(names)


def _refuse_twice(table: Table, ids: list[str]) -> None:
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        if first.setdefault(name, row) != row:
            raise csv_joined.twice(table, name, first[name], row)


def _refuse_two(table: Table, ids: list[str], first: NDArray[np.int64], values: NDArray[np.str_]) -> None:
    """Raise ``UserError`` where lines of one image have two splits or groups."""
    row_of = {ids[row]: row for row in first.tolist()}
    for row, name in enumerate(ids):
        other = row_of[name]
        if values[row] != values[other]:
            lines = f"lines {table.lines[other]} and {table.lines[row]}"
            raise UserError(f"{table.file}: {name} is in {values[other]} and {values[row]} ({lines})", "choose one")


def _split(table: Table, column: int, codes: csv_cells.Codes) -> NDArray[np.str_]:
    """The split of each line; fastai's ``is_valid`` is the test split, for fastai reports on it."""
    fastai = table.columns[column].lower() == FASTAI
    found = []
    for row, cell in enumerate(table.cells(column)):
        split = FASTAI_SPLITS.get(int(codes[row, column])) if fastai else SPLIT_WORDS.get(cell.lower())
        if split is None:
            write = "True or False" if fastai else "train, validation or test"
            raise UserError(
                f"{table.where(row, column)}: {cell!r} is no split",
                f"write {write} in every line, or take the column out",
            )
        found.append(split)
    for split in ("train", "test"):
        if split not in found:
            raise UserError(
                f"{table.file}: column {table.columns[column]!r} has no image for {split}",
                f"give {split} to some, or take the column out for a random split",
            )
    if fastai:
        count = f"{found.count('test'):,}"
        log.warning(
            "%s: the %s images of is_valid are for testing; validation is taken off the others", table.file.name, count
        )
    return np.array(found)
