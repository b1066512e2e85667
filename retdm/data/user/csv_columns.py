"""The columns of a label table: images, splits, labels."""

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from retdm.data.images import ENDINGS
from retdm.data.user.csv_cells import OTHER, PRESENT, UNKNOWN, Codes
from retdm.data.user.csv_table import Table
from retdm.data.user.label_names import near, some, tidy
from retdm.errors import UserError

IMAGE_COLUMNS = (
    *("image", "file", "filename", "path"),
    *("fname", "file_name", "filepath", "file_path", "image_name", "image_path", "image_id"),
)
JOINED_COLUMNS = ("labels", "label", "tags")
SPLIT_WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SPLIT_WORDS |= dict.fromkeys(("val", "valid", "validation"), "validation")
FASTAI = "is_valid"
# Names of columns of 0 and 1 that describe the line and not the image.
NO_LABELS = {
    *("annotated", "checked", "comment", "comments", "confidence", "corrupt", "done", "excluded", "flag", "flagged"),
    *("flags", "fold", "id", "idx", "ignore", "included", "index", "invalid", "isvalid", "label", "labels", "note"),
    *("notes", "partition", "quality", "remark", "remarks", "reviewed", "skip", "split", "subset", "tags", "unnamed"),
    *("usable", "used", "valid", "verified", "weight"),
}


GROUPS = {"group", "groupid", "patient", "patientid", "subject", "subjectid", "site", "siteid", "shoot", "camera"}
GROUPS |= {"location", "scene", "sequence", "session", "video", "study", "studyid", "specimen", "plot", "photographer"}


class Columns(NamedTuple):
    """The columns by number: images, splits and groups if there are any, either joined names or a column a label."""

    image: int
    split: int | None
    group: int | None
    joined: int | None
    labels: list[int]


def find_columns(
    table: Table,
    codes: Codes,
    image_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    other_columns: Sequence[str] | None = None,
    *,
    joined: bool = False,
    group: str | None = None,
) -> Columns:
    """The column of each kind.

    Args:
        table: with its column names.
        codes: of its cells.
        image_column: of the images' paths; None looks for ``IMAGE_COLUMNS``.
        label_columns: the labels, or the one column of their names; None looks for ``JOINED_COLUMNS``, else takes all
            columns that are left.
        other_columns: no labels, whatever they look like; None makes columns that look like none an error.
        joined: the one label column holds names, whatever they look like.
        group: the column of what an image's group is called; None groups none.

    Raises:
        UserError: a column is not there or has no name, none is of images or of labels, or some are no labels.
    """
    lower = [column.lower() for column in table.columns]
    image = _image(table, lower, image_column)
    others = {_place(table, name, "other_columns") for name in other_columns or ()}
    grouped = None if group is None else _place(table, group, "group")
    asked = None if label_columns is None else [_place(table, name, "label_columns") for name in label_columns]
    unnamed = _unnamed(table)
    free = [c for c in range(len(lower)) if c not in {image, grouped, *others, *unnamed, *(asked or ())}]
    split = next((c for name in ("split", FASTAI) for c in free if lower[c] == name), None)
    names = [c for name in JOINED_COLUMNS for c in free if lower[c] == name] if asked is None else asked
    if asked is None or len(asked) == 1:
        found = next((c for c in names if joined or _holds_names(codes, c, lower[c])), None)
        if found is not None:
            return Columns(image, split, grouped, found, [])
    if joined:
        raise UserError(
            f"{table.file}: data.label_separator is set, and there is no column of joined names",
            f"data.label_columns=[<name>] names it; the table has {some(table.columns)}",
        )
    labels = [c for c in free if c != split] if asked is None else asked
    if not labels:
        raise UserError(
            f"{table.file} has no label column; its first line has: {some(table.columns)}",
            "add a column of 0 and 1 for each label, or one column 'labels' of names joined by ;",
        )
    _check_labels(table, codes, labels, asked is not None, other_columns)
    return Columns(image, split, grouped, None, labels)


def _image(table: Table, lower: list[str], image_column: str | None) -> int:
    if image_column is not None:
        if tidy(image_column, "data.image_column") in table.columns:
            return table.columns.index(tidy(image_column, "data.image_column"))
    elif found := [lower.index(name) for name in IMAGE_COLUMNS if name in lower]:
        return found[0]
    if any(_is_file(column) for column in table.columns):
        hint = "the first line must name the columns: image,cat,dog"
    elif like := [name for name, cell in zip(table.columns, table.rows[0], strict=True) if _is_file(cell)]:
        hint = f"column {like[0]!r} looks so: {as_setting('image_column', like[:1])}"
    else:
        hint = "data.image_column=<name> names the column of the images' paths"
        if image_column is not None and (meant := near(image_column, table.columns)):
            hint = f"{hint}; there is {meant!r}"
    raise UserError(
        f"{table.file} has no image column ({image_column or ', '.join(IMAGE_COLUMNS[:4])}); its first line has: "
        f"{some(table.columns)}",
        hint,
    )


def _is_file(cell: str) -> bool:
    return cell.strip().lower().endswith(tuple(ENDINGS))


def _place(table: Table, name: object, setting: str) -> int:
    text = tidy(str(name), f"data.{setting}")
    if text not in table.columns:
        meant = near(text, table.columns)
        hint = f"there is {meant!r}" if meant else f"it has {some(table.columns)}"
        raise UserError(f"{table.file} has no column {text!r}, which data.{setting} names", hint)
    return table.columns.index(text)


def _unnamed(table: Table) -> set[int]:
    """Columns without a name or content, as a spreadsheet leaves them, and the row numbers that pandas writes.

    Raises:
        UserError: one without a name has content, or two columns have one name.
    """
    silent = set()
    for place, column in enumerate(table.columns):
        if not column:
            cells = list(table.cells(place))
            if not any(cells) or cells == [str(i) for i in range(len(cells))]:
                silent.add(place)
                continue
        if not column or column in table.columns[:place]:
            what = f"a second column {column!r}" if column else f"no name for column {place + 1}"
            raise UserError(f"{table.file} has {what} in its first line", "give every column one name of its own")
    return silent


def _holds_names(codes: Codes, column: int, name: str) -> bool:
    """True where a column holds names: text, and no 0 or 1 unless the column is called ``labels`` or the like."""
    found = codes[:, column]
    return bool((found == OTHER).any()) and (name in JOINED_COLUMNS or not (found <= PRESENT).any())


def _check_labels(
    table: Table, codes: Codes, labels: list[int], asked: bool, other_columns: Sequence[str] | None
) -> None:
    """Raise ``UserError`` where columns do not look like labels."""
    strange = {}
    for column in labels:
        name, found = table.columns[column], codes[:, column]
        if (found <= PRESENT).any():
            if not asked and other_columns is None and _plain(name) in NO_LABELS:
                strange[column] = "a column of this name is seldom a label"
        elif (other := np.flatnonzero(found == OTHER)).size:
            strange[column] = repr(table.rows[int(other[0])][column].strip()[:20])
        elif (found == UNKNOWN).all():
            strange[column] = "without a known cell"
    if not strange:
        return
    columns = [table.columns[c] for c in strange]
    listed = ", ".join(f"{table.columns[c]!r} ({why})" for c, why in list(strange.items())[:4])
    more = f" and {len(strange) - 4} more" if len(strange) > 4 else ""
    hint = f"{as_setting('other_columns', columns)} leaves them out; data.label_columns=[…] names the labels"
    if groups := group_like(columns):
        hint = f"{as_setting('group', groups[:1])} keeps images of one {groups[0]} in one split; {hint}"
    splits = [c for c in strange if all(cell.lower() in SPLIT_WORDS for cell in table.cells(c))]
    if splits:
        hint = f"call the column {table.columns[splits[0]]!r} 'split' if it names the splits; {hint}"
    elif len(strange) == len(labels) == 1 and _plain(columns[0]) in ("label", "labels", "tags"):
        name = columns[0]
        hint = (
            f"give it the name of the label that 1 stands for, or {as_setting('label_columns', [name])} takes it as is"
        )
    raise UserError(f"{table.file}: these columns do not look like labels: {listed}{more}", hint)


def group_like(columns: Sequence[str]) -> list[str]:
    """The columns that by their names say which images belong together."""
    return [name for name in columns if _plain(name) in GROUPS]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]|(?<=unnamed: )\d+|\.\d+$", "", name.lower())  # pandas writes 'Unnamed: 0' and 'flag.1'


def as_setting(key: str, names: Sequence[str]) -> str:
    """``data.key=[names]`` as one writes it in a shell."""
    quoted = [name if re.fullmatch(r"[\w.-]+", name) else '"{}"'.format(name.replace('"', r"\"")) for name in names]
    value = (
        quoted[0] if key in ("image_column", "group") else f"[{','.join(quoted[:12])}{',…' if len(names) > 12 else ''}]"
    )
    return shlex.quote(f"data.{key}={value}") if '"' in value else f"data.{key}={value}"
