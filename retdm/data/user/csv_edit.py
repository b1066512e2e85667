"""Changes of single labels in a label table, which else stays as it is: its lines, signs, other columns and words."""

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Mapping

from retdm.data.user import csv_joined
from retdm.data.user.csv_cells import ABSENT, PRESENT, Codes, codes_of
from retdm.data.user.csv_joined import CLOSING, NONE, SEPARATORS, Names
from retdm.data.user.csv_labels import CsvLabels
from retdm.data.user.csv_table import Table, read_table, separator_of
from retdm.errors import UserError

BOM = b"\xef\xbb\xbf"
Lines = dict[int, list[list[str]]]  # row of the table -> what stands in its place, cells of each line


def edited(source: CsvLabels, changes: Mapping[tuple[int, int], int]) -> bytes:
    """The content of the source's table with some labels changed.

    A cell is written as the table writes such values (``True``, ``yes``, ``1``); a name is added behind the others, or
    in a line of its own where the table has one line an image and label. All other lines stay byte for byte.

    Args:
        source: opened from the table.
        changes: (row, column) of the source -> 1 or 0.

    Raises:
        UserError: a label of an image whose labels are all unknown is changed in a table of joined names, which has no
            place for a single one.
    """
    table = read_table(source.file)
    codes = codes_of(table, empty=source.settings["empty"], minus_one=source.settings["minus_one"])
    change = _changed_cells if source.columns.joined is None else _changed_names
    return _written(source, change(source, table, codes, changes))


def _changed_cells(source: CsvLabels, table: Table, codes: Codes, changes: Mapping[tuple[int, int], int]) -> Lines:
    found: Lines = {}
    words: dict[tuple[int, int], str] = {}
    for (row, label), value in changes.items():
        column = source.columns.labels[label]
        if (column, value) not in words:
            words[column, value] = _word(source, table, codes, column, value)
        cells = found.setdefault(row, [list(table.rows[row])])
        cells[0][column] = words[column, value]
    return found


def _word(source: CsvLabels, table: Table, codes: Codes, column: int, value: int) -> str:
    """The text by which a column writes a value; else any label column, else 1 or 0."""
    code = PRESENT if value else ABSENT
    for columns in ([column], source.columns.labels):
        counts: Counter[str] = Counter(
            table.rows[row][each].strip() for each in columns for row in (codes[:, each] == code).nonzero()[0].tolist()
        )
        if counts:
            ((word, _),) = counts.most_common(1)
            return word
    return str(value)


def _changed_names(source: CsvLabels, table: Table, codes: Codes, changes: Mapping[tuple[int, int], int]) -> Lines:
    column = source.columns.joined
    assert column is not None
    separator = source.settings["label_separator"]
    lists = csv_joined.lists_of(table, column, separator, source.settings["empty"])
    lines_of: dict[int, list[int]] = defaultdict(list)
    for line, row in enumerate(source.row_of_line.tolist()):
        lines_of[row].append(line)
    by_row: dict[int, dict[str, int]] = defaultdict(dict)
    for (row, label), value in changes.items():
        by_row[row][source.names[label]] = value
    found: Lines = {}
    for row, wanted in by_row.items():
        lines = lines_of[row]
        if lists[lines[0]] is None:
            raise UserError(
                f"{table.where(lines[0], column)}: all labels of {source.ids[row]} are unknown, and joined names have "
                "no place for one alone",
                "write all labels of this image into the table",
            )
        if len(lines_of) < len(table.rows) and all(len(lists[line] or ()) < 2 for line in lines):
            found |= _lines_of_names(table, column, lines, lists, wanted)
        else:
            names = [name for name in lists[lines[0]] or () if wanted.get(name, 1)]
            names += [name for name, value in wanted.items() if value and name not in names]
            cells = list(table.rows[lines[0]])
            cells[column] = _joined(cells[column].strip(), names, separator)
            found[lines[0]] = [cells]
    return found


def _lines_of_names(
    table: Table, column: int, lines: list[int], lists: list[Names], wanted: Mapping[str, int]
) -> Lines:
    """The lines of one image in a table with a line an image and label."""
    there = [name for line in lines for name in lists[line] or ()]
    added = [name for name, value in wanted.items() if value and name not in there]
    found: Lines = {line: [] for line in lines if (lists[line] or [""])[0] == "" or not wanted.get(lists[line][0], 1)}  # type: ignore[index]
    if len(found) == len(lines) and not added:
        added = [NONE]
    if added:
        place = max((line for line in lines if line not in found), default=lines[0])
        cells = [list(table.rows[place])] if place not in found else []
        new = [[name if at == column else cell for at, cell in enumerate(table.rows[place])] for name in added]
        found[place] = cells + new
    return found


def _joined(before: str, names: list[str], separator: str | None) -> str:
    """Names in one cell, in the form that it has."""
    sign = ";" if separator is None else SEPARATORS.get(separator, separator)
    listed = separator not in ("semicolon", ";") and CLOSING.get(before[:1]) == before[-1:] != ""
    if not listed:
        return (f"{sign} " if f"{sign} " in before else sign).join(names) or NONE
    inner = before[1:-1]
    if '"' in inner or "'" in inner or not inner.strip():
        mark = '"' if '"' in inner and "'" not in inner else "'"
        names = [mark + name.replace("\\", "\\\\").replace(mark, f"\\{mark}") + mark for name in names]
    return before[0] + ("," if inner and ", " not in inner and "," in inner else ", ").join(names) + before[-1]


def _written(source: CsvLabels, changed: Lines) -> bytes:
    content = source.file.read_bytes()
    text = content.decode("utf-8-sig")
    head = text.lstrip("\r\n")
    sign, begin = separator_of(head.split("\n", 1)[0] + "\n")
    begin += len(text) - len(head)
    physical = list(io.StringIO(text[begin:], newline=""))
    pieces, start, row = [text[:begin]], 0, -2  # the first line has the columns
    reader = csv.reader(io.StringIO(text[begin:], newline=""), delimiter=sign, strict=True)
    for cells in reader:
        raw = "".join(physical[start : reader.line_num])
        start = reader.line_num
        row += any(map(str.strip, cells))
        if row in changed and any(map(str.strip, cells)):
            end = re.search(r"(?:\r?\n|\r)?\Z", raw)
            raw = _lines(changed[row], sign, (end[0] if end else "") or "\n")
        pieces.append(raw)
    return (BOM if content.startswith(BOM) else b"") + "".join(pieces).encode()


def _lines(rows: list[list[str]], sign: str, end: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=sign, lineterminator=end).writerows(rows)
    return text.getvalue()
