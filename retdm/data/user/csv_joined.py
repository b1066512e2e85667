"""One column of joined label names, or one line an image and label."""

import ast
import json
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retdm.data.user.csv_cells import Meaning
from retdm.data.user.csv_table import Table
from retdm.data.user.label_names import distinct, tidy
from retdm.errors import UserError

NONE = "-"
SEPARATORS = {"semicolon": ";", "comma": ",", "pipe": "|", "space": " ", "tab": "\t", "newline": "\n"}
JOINING = (",", "|", "\n", "\t", "，", "、", "；")  # no name has one of these, unless it is asked for
SOMETIMES = (" ", "/", "+", "&", ":")  # these join names where the pieces come again and again
CLOSING = {"[": "]", "{": "}"}
ITEM = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,'"\[\]{}][^,'"\[\]{}]*)\s*(,|$)""")

Names = list[str] | None  # of one cell; None where nobody said


def lists_of(table: Table, column: int, separator: str | None = None, empty: Meaning = "unknown") -> list[Names]:
    """The names in each cell of a column.

    Args:
        table: of text.
        column: where the names stand.
        separator: a key of ``SEPARATORS`` or any text; None is a semicolon, and refuses names that look like several.
            Cells that are lists, as ``['cat', 'dog']``, ``["cat"]`` or ``{cat,dog}``, are read as such, unless the
            semicolon is given.
        empty: the meaning of an empty cell: ``unknown``, or 0 for none of the labels.

    Raises:
        UserError: a cell has an empty name or is no list though it looks like one, or a name looks like several that
            another sign than the separator joins.
    """
    sign = ";" if separator is None else SEPARATORS.get(separator, separator)
    if not sign:
        raise UserError("data.label_separator is empty", f"{', '.join(SEPARATORS)}, or any text")
    if empty == 1:
        raise UserError("data.empty=1 has no meaning for a column of names", "unknown, or 0 for none of the labels")
    as_they_are = separator in ("semicolon", ";")
    nothing: Names = [] if empty == 0 else None
    read: dict[str, Names] = {"": nothing, NONE: []}
    found: list[Names] = []
    for row, cell in enumerate(table.cells(column)):
        if cell not in read:
            where = table.where(row, column)
            listed = not as_they_are and CLOSING.get(cell[0]) == cell[-1]
            names = _items(cell, where) if listed else cell.split(None if sign == " " else sign)
            names = [name.strip() for name in names]
            if "" in names or NONE in names:
                raise UserError(
                    f"{where}: {cell!r} has {'an empty name' if '' in names else 'a name beside -'}",
                    "write cat;dog, - for an image without any of the labels, nothing where they are unknown",
                )
            read[cell] = [tidy(name, where) for name in names]
            if separator is None and not listed:
                _refuse_joined(names, where)
        found.append(read[cell])
    if separator is None:
        _refuse_repeated(sorted({name for names in found for name in names or ()}), f"{table.file}")
    return found


def merged(table: Table, ids: list[str], lists: list[Names]) -> tuple[list[str], list[Names], NDArray[np.int64]]:
    """(ids, their names, first row of each), where a file may stand in several lines of one name each.

    Raises:
        UserError: a file stands in several lines, of which one has several names, or ``-`` for none.
    """
    first: dict[str, int] = {}
    found: dict[str, Names] = {}
    for row, (name, names) in enumerate(zip(ids, lists, strict=True)):
        if first.setdefault(name, row) == row:
            found[name] = names
            continue
        before = found[name]
        if names is None or before is None or len(names) != 1 or len(lists[first[name]] or ()) != 1:
            raise twice(table, name, first[name], row)
        found[name] = [*before, *names]
    return list(first), list(found.values()), np.array(list(first.values()))


def twice(table: Table, name: str, first: int, second: int) -> UserError:
    """The error of a file that stands in two lines."""
    return UserError(
        f"{table.file} names {name} in lines {table.lines[first]} and {table.lines[second]}",
        "keep one line an image, or write one line an image and label: 1.jpg,cat and 1.jpg,dog under image,label",
    )


def targets_of(table: Table, lists: Sequence[Names]) -> tuple[list[str], NDArray[np.uint8], NDArray[np.bool_]]:
    """(names in alphabetical order, targets (n, L), known (n, L)). Raises ``UserError`` without any name."""
    names = distinct(sorted({name for found in lists for name in found or ()}), table.file)
    if not names:
        raise UserError(f"{table.file} names no label", "write cat;dog")
    place = {name: column for column, name in enumerate(names)}
    targets = np.zeros((len(lists), len(names)), np.uint8)
    for row, found in enumerate(lists):
        targets[row, [place[name] for name in found or ()]] = 1
    known = np.array([found is not None for found in lists])
    return names, targets, np.repeat(known[:, None], len(names), axis=1)


def _items(cell: str, where: str) -> list[str]:
    """The items of a list in brackets, quoted as in Python or JSON, or not at all; nothing of it is executed."""
    inner, at, items = cell[1:-1].strip(), 0, []
    while at < len(inner):
        match = ITEM.match(inner, at)
        text = match[1].strip() if match else ""
        if match is None:
            raise UserError(
                f"{where}: {cell[:60]!r} is no list of names", "write ['cat', 'dog'], or cat;dog without brackets"
            )
        try:
            items.append(json.loads(text) if text[0] == '"' else ast.literal_eval(text) if text[0] == "'" else text)
        except (ValueError, SyntaxError) as error:
            raise UserError(f"{where}: {text[:60]!r} cannot be read: {error}", "write ['cat', 'dog']") from error
        at = match.end()
    return items


def _refuse_joined(names: list[str], where: str) -> None:
    for name in names:
        for sign in (*JOINING, *"[]{}"):
            if sign in name:
                raise _several(where, name, sign)


def _refuse_repeated(names: list[str], where: str) -> None:
    """Raise where names are made of few pieces: 'horse person' beside 'horse' and 'person' is two names."""
    for sign in SOMETIMES:
        several = {name: name.split(sign) for name in names if sign in name.strip(sign)}
        if not several:
            continue
        pieces = {piece.strip() for words in several.values() for piece in words} | (set(names) - set(several))
        for name, words in several.items():
            if len(pieces) < len(names) or all(word.strip() in names for word in words):
                raise _several(where, name, sign)


def _several(where: str, name: str, sign: str) -> UserError:
    word = next((word for word, text in SEPARATORS.items() if text == sign), sign)
    if sign in "[]{}":
        return UserError(
            f"{where}: {name[:60]!r} looks like a piece of a list",
            "write ['cat', 'dog'] in one cell, in quotes, or cat;dog; data.label_separator=semicolon takes it as it is",
        )
    words = [text.strip() for text in name.split(sign) if text.strip()]
    return UserError(
        f"{where}: label {name[:60]!r} looks like several joined by {word!r}: {', '.join(map(repr, words[:4]))}",
        f"data.label_separator={word} takes it apart; data.label_separator=semicolon keeps it one name",
    )
