"""Cells of a label table as codes: absent, present, unknown, and what is none of these."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retdm.data.user.csv_table import Table
from retdm.errors import UserError

Codes = NDArray[np.uint8]  # (n, columns)
ABSENT, PRESENT, UNKNOWN, EMPTY, MINUS_ONE, OTHER = range(6)
WORDS = {"true": PRESENT, "yes": PRESENT, "false": ABSENT, "no": ABSENT, "": EMPTY}
WORDS |= dict.fromkeys(("?", "nan", "na", "n/a", "<na>", "null", "none"), UNKNOWN)
NUMBERS = {0.0: ABSENT, 1.0: PRESENT, -1.0: MINUS_ONE}
Meaning = Literal["unknown", 0, 1]  # of a cell that is empty, or -1
MEANINGS: dict[Meaning, int] = {"unknown": UNKNOWN, 0: ABSENT, 1: PRESENT}


def codes_of(table: Table, *, empty: Meaning = "unknown", minus_one: Meaning | None = None) -> Codes:
    """The code of each cell, (n, columns): one of ``ABSENT`` to ``OTHER``.

    Args:
        table: of text.
        empty: the meaning of an empty cell.
        minus_one: the meaning of -1; None leaves it ``MINUS_ONE``, which no label column may hold.
    """
    meant = {EMPTY: MEANINGS[empty]}
    if minus_one is not None:
        meant[MINUS_ONE] = MEANINGS[minus_one]
    known = _Known(meant)
    found = np.empty((len(table.rows), len(table.columns)), np.uint8)
    for place, row in enumerate(table.rows):  # a table has millions of cells and a handful of different ones
        found[place] = np.frombuffer(bytes(map(known.__getitem__, row)), np.uint8)
    return found


class _Known(dict[str, int]):
    """The codes of the cells met so far, each read once."""

    def __init__(self, meant: dict[int, int]) -> None:
        super().__init__()
        self.meant = meant

    def __missing__(self, cell: str) -> int:
        text = cell.strip().lower()
        code = WORDS.get(text)
        if code is None:
            try:
                code = NUMBERS.get(float(text.replace(",", ".")), OTHER)  # decimals as pandas and spreadsheets write
            except ValueError:
                code = OTHER
        code = self.meant.get(code, code)
        self[cell] = code
        return code


def targets_of(
    table: Table, codes: Codes, columns: Sequence[int]
) -> tuple[list[str], NDArray[np.uint8], NDArray[np.bool_]]:
    """(names, targets (n, L), known (n, L)) from a column a label. Raises ``UserError`` for the first strange cell."""
    chosen = codes[:, list(columns)]
    if (strange := chosen > UNKNOWN).any():
        row, place = divmod(int(np.argmax(strange)), len(columns))
        cell, where = table.rows[row][columns[place]].strip(), table.where(row, columns[place])
        if chosen[row, place] == MINUS_ONE:
            raise UserError(
                f"{where}: -1 may mean absent or unknown",
                "data.minus_one=0 (absent, where a table has -1 and 1), unknown (uncertain, as in CheXpert) or 1",
            )
        raise UserError(
            f"{where}: {cell!r} is neither 0, 1 nor empty",
            "every column but those of image and split is a label; data.other_columns=[…] leaves out the others, "
            "or join the labels' names in one column 'labels'",
        )
    return [table.columns[column] for column in columns], (chosen == PRESENT).astype(np.uint8), chosen <= PRESENT
