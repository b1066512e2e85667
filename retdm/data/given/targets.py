"""Targets as a caller has them: an array, a DataFrame, nested lists.

Notation: n images, L labels.
"""

import sys
from collections.abc import Sequence, Set
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retdm.data.user.label_names import distinct, some
from retdm.errors import UserError
from retdm.registry import nearest

FORM = "targets are an (n, L) table of 1 (has the label), 0 (has not) and NaN or None (unknown)"
AS_COLUMNS = "give a column of 0 and 1 for each label; in pandas: table['labels'].str.get_dummies(';')"
AS_NUMBERS = "give numbers instead of text: np.asarray(targets, dtype=float), or table.astype(float)"
NEGATIVE = "1 has the label, 0 has not, NaN is unknown: np.where(targets < 0, 0, targets), or np.nan for 0"


class Targets(NamedTuple):
    """Checked targets.

    Attributes:
        names: of the L labels.
        cells: float64 (n, L) of 0, 1 and NaN, which is unknown.
    """

    names: list[str]
    cells: NDArray[np.float64]


def targets_of(given: Any, labels: Sequence[str] | None = None) -> Targets:
    """Targets with the names of their labels.

    Args:
        given: (n, L) numbers or booleans in anything that NumPy takes for an array, a sparse matrix, or a DataFrame.
        labels: names of the L columns; of a DataFrame the columns that are labels, None takes all.

    Raises:
        UserError: there are no names, two are the same or one is none, the shape is another, or a cell is neither 0, 1
            nor unknown.
    """
    if labels is not None:
        labels = _listed(labels)
    if hasattr(given, "columns"):
        columns = list(given.columns)
        if labels is None:
            labels = columns
        elif unknown := [name for name in labels if name not in columns]:
            raise UserError(f"targets has no column {unknown[0]!r}", nearest(str(unknown[0]), map(str, columns)))
        if twice := [name for name in labels if columns.count(name) > 1]:
            raise UserError(f"targets has several columns {twice[0]!r}", "give each column another name")
        names = _names(labels)
        given = given[labels]
    elif labels is None:
        raise UserError("labels is missing: the names of the columns of targets", 'labels=["cat", "dog"]')
    else:
        names = _names(labels)
    cells = cells_of(given, names)
    silent = np.flatnonzero(np.isnan(cells).all(axis=0))
    if len(silent):
        listed = some([names[column] for column in silent])
        raise UserError(f"no target of these labels is known: {listed}", "leave these columns out")
    return Targets(names, cells)


def cells_of(given: Any, names: Sequence[str] | None = None) -> NDArray[np.float64]:
    """Targets as float64 (n, L) of 0, 1 and NaN.

    Args:
        given: as of :func:`targets_of`.
        names: of the L labels, where they are known.

    Raises:
        UserError: as there.
    """
    try:
        array = _array(given)
    except ValueError as error:  # rows of different lengths
        raise UserError("the rows of targets are not equally long", f"{FORM}; {AS_COLUMNS}") from error
    if array.ndim != 2 or 0 in array.shape or (names is not None and array.shape[1] != len(names)):
        wanted = "(n, L)" if names is None else f"(n, {len(names)}), a column for each of {some(list(names), 4)}"
        hint = "targets[:, None] is one column" if array.ndim == 1 and names and len(names) == 1 else FORM
        if array.size and isinstance(array.flat[0], str):
            hint = AS_COLUMNS
        raise UserError(f"targets has shape {array.shape}, expected {wanted}", hint)
    if array.dtype.kind in "biuf":
        cells = array.astype(np.float64)
    else:
        cells = np.full(array.shape, np.nan)
        pandas = sys.modules.get("pandas")  # its NA is no number and no NaN, in lists and arrays too
        unknown = None if pandas is None else pandas.isna(array)
        for place, cell in np.ndenumerate(array):
            if cell is None or (unknown is not None and unknown[place]):
                continue
            real = isinstance(cell, bool | int | float | np.bool_ | np.integer | np.floating)
            if not real or (cell == cell and cell not in (0, 1)):
                raise _strange(place, cell, names)
            cells[place] = cell
    strange = ~((cells == 0) | (cells == 1) | np.isnan(cells))
    if strange.any():
        row, column = map(int, np.argwhere(strange)[0])
        raise _strange((row, column), array[row, column], names)
    return cells


def _array(given: Any) -> NDArray[Any]:
    """What holds targets as an array; what it marks as missing is NaN or None there.

    Raises:
        ValueError: rows are not equally long.
    """
    if hasattr(given, "toarray"):  # SciPy's sparse matrices
        given = given.toarray()
    elif hasattr(given, "detach"):  # a tensor, whose type or device NumPy may not know
        given = given.detach().cpu().double().numpy()
    elif hasattr(given, "select_dtypes") and given.select_dtypes("category").shape[1]:
        given = given.astype(object)  # pandas makes a number of a missing category
    if isinstance(given, np.ma.MaskedArray):
        cells: NDArray[Any] = given.data.astype(object)
        cells[np.ma.getmaskarray(given)] = None
        return cells
    return np.asarray(given)


def _listed(labels: Any) -> list[Any]:
    if isinstance(labels, str):
        raise UserError(f"labels={labels!r} is one text", f"a list of names: labels=[{labels!r}]")
    if isinstance(labels, Set) or not hasattr(labels, "__iter__"):
        why = ", which has no order" if isinstance(labels, Set) else ""
        raise UserError(f"labels is of type {type(labels).__name__}{why}", 'a list of names: labels=["cat", "dog"]')
    return list(labels)


def _names(listed: Sequence[Any]) -> list[str]:
    for name in listed:
        if not isinstance(name, str):
            raise UserError(
                f"the label {name!r} is of type {type(name).__name__}", "names are text: labels=[str(name), …]"
            )
    names = distinct(listed, "labels=[…]")
    if not names:
        raise UserError("labels is empty", 'labels=["cat", "dog"]')
    if "" in names:
        raise UserError(f"label {names.index('') + 1} has no name", 'labels=["cat", "dog"]')
    return names


def _strange(place: tuple[int, ...], cell: Any, names: Sequence[str] | None) -> UserError:
    row, column = place
    label = f"label {names[column]!r}" if names is not None else f"column {column}"
    shown = repr(cell.item() if isinstance(cell, np.generic) else cell)
    if isinstance(cell, str):
        hint = AS_NUMBERS if cell.strip() in ("0", "1") else AS_COLUMNS
    else:
        hint = NEGATIVE if cell == -1 else FORM
    return UserError(f"targets, row {row}, {label}: {shown[:60]} is neither 0, 1 nor unknown", hint)
