"""The labels that a run takes for others: a matrix and a table. Notation: L labels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retdm.criteria import Confusion, confusion
from retdm.report.one_run.evaluated import Evaluated

MOST = 24  # labels of the matrix
ROWS = 120  # of the table
NAMED = 3  # labels in a cell of the table


class Cell(NamedTuple):
    """A cell of the matrix.

    Attributes:
        text: its number of images; empty for none.
        share: of the row's, from 0 to 1, for its colour.
        says: what it is, in words.
    """

    text: str
    share: float
    says: str


class Matrix(NamedTuple):
    """Rows are missed labels, columns the labels that these images are given wrongly.

    Attributes:
        labels: of rows and columns.
        rows: of each label its number of misses, a cell a column, and a cell of those without a wrong label.
        cut: there are more labels with a mistake than are shown.
    """

    labels: list[str]
    rows: list[tuple[str, int, list[Cell]]]
    cut: bool


class Mixed(NamedTuple):
    """A label in the table of what is taken for what.

    Attributes:
        label: its name.
        missed, added: images, as text.
        instead: the labels that are added most often where it is missed.
        beside: the labels that are truly there most often where it is added.
    """

    label: str
    missed: str
    instead: str
    added: str
    beside: str


def confused(of: Evaluated) -> Confusion:
    """The counts of a run's test split."""
    return confusion(of.target, of.known, of.predicted)


def matrix(found: Confusion, labels: Sequence[str]) -> Matrix:
    """The labels with most mistakes, in the order of the data; none where every label is decided rightly."""
    wrong = found.missed + found.added
    chosen = np.sort(np.argsort(-wrong, kind="stable")[:MOST])
    chosen = chosen[wrong[chosen] > 0]
    rows = []
    for i in chosen.tolist():
        total = int(found.missed[i])
        cells = [
            _cell(int(found.instead[i, j]), total, f"{labels[i]} missed, {labels[j]} added") for j in chosen.tolist()
        ]
        cells.append(_cell(int(found.alone[i]), total, f"{labels[i]} missed, nothing added"))
        rows.append((labels[i], total, cells))
    return Matrix([labels[j] for j in chosen.tolist()], rows, int((wrong > 0).sum()) > len(chosen))


def _cell(count: int, total: int, says: str) -> Cell:
    return Cell(f"{count:,}" if count else "", round(count / total, 3) if total else 0, f"{says}: {count} of {total}")


def table(found: Confusion, labels: Sequence[str]) -> list[Mixed]:
    """A row for each label with a mistake, those with most first."""
    wrong = found.missed + found.added
    order = [int(j) for j in np.argsort(-wrong, kind="stable") if wrong[j]][:ROWS]
    return [
        Mixed(
            labels[i],
            f"{found.missed[i]:,}",
            _named(found.instead[i], labels, int(found.alone[i]), "nothing"),
            f"{found.added[i]:,}",
            _named(found.beside[i], labels, int(found.beside_none[i]), "no label", found.instead[:, i]),
        )
        for i in order
    ]


def _named(
    counts: NDArray[np.int64],
    labels: Sequence[str],
    none: int,
    word: str,
    missed: NDArray[np.int64] | None = None,
) -> str:
    """``boat 4 (3 missed), sky 2, no label 1``: the most frequent ones; ``word`` stands for none."""
    order = [int(j) for j in np.argsort(-counts, kind="stable")[:NAMED] if counts[j]]
    parts = [
        f"{labels[j]} {counts[j]:,}" + (f" ({missed[j]:,} missed)" if missed is not None and missed[j] else "")
        for j in order
    ]
    return ", ".join([*parts, *([f"{word} {none:,}"] if none else [])])
