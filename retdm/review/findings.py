"""What a review finds: cells of the label table that are probably wrong, kind by kind, the most suspicious first.

Notation: n images, L labels.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from retdm.data.source import Source
from retdm.display.text import path_cell, safe_cell
from retdm.review.suspicion import Ranking, suspicion

if TYPE_CHECKING:  # they need PyTorch, and whoever applies decisions does not
    from retdm.data.duplicates import Pairs
    from retdm.review.out_of_fold import Scored

Kind = Literal["missing", "wrong", "copies", "unknown"]
KINDS: tuple[Kind, ...] = get_args(Kind)
COLUMNS = ("image", "label", "given", "reviewed")  # of a decision; review.csv has more behind them


class Finding(NamedTuple):
    """One cell of the label table.

    Attributes:
        kind: ``missing``: the label is not given, and probably there; ``wrong``: it is given, and probably not there;
            ``copies``: a copy of the image says otherwise; ``unknown``: nobody said, and it is probably there.
        row: the image's place in the data set.
        label: its column.
        given: 1, 0, or None where it is unknown.
        score: out of fold, in [0, 1].
        suspicion: see :func:`retdm.review.suspicion.suspicion`; 0 for a label that no fit can doubt.
        copy: the row of the copy that says otherwise.
    """

    kind: Kind
    row: int
    label: int
    given: int | None
    score: float
    suspicion: float
    copy: int | None = None


def find(scored: "Scored", pairs: "Pairs", ranking: Ranking = "odds", *, unknown: bool = True) -> list[Finding]:
    """Every cell whose score speaks against it (a suspicion above 0, on the other side of one half), and every cell
    that a copy contradicts.

    Args:
        scored: rows with labels and scores.
        pairs: rows of the data set that show the same picture.
        ranking: by which cells are suspected.
        unknown: list unknown cells too, that are probably positive.

    Returns:
        Missing and wrong labels together, the most suspicious first; then those of copies, the two cells of a
        contradiction one after the other; then unknown ones. A cell is there once.
    """
    doubt = suspicion(scored.scores, scored.target, scored.known, ranking)
    of_copies = list(_contradictions(scored, pairs, doubt))
    there = {(each.row, each.label) for each in of_copies}
    found: dict[bool, list[Finding]] = {True: [], False: []}
    given = np.where(scored.known & (scored.target > 0), 1, -1)
    places = np.argwhere((doubt > 0) & (given * (scored.scores - 0.5) < 0))
    for i, j in places[np.argsort(-doubt[tuple(places.T)], kind="stable")].tolist():
        known = bool(scored.known[i, j])
        if (int(scored.rows[i]), j) not in there and (known or unknown):
            kind: Kind = "unknown" if not known else "wrong" if scored.target[i, j] else "missing"
            found[known].append(_finding(kind, scored, doubt, i, j))
    return [*found[True], *of_copies, *found[False]]


def _finding(kind: Kind, scored: "Scored", doubt: np.ndarray, i: int, j: int, copy: int | None = None) -> Finding:
    given = int(scored.target[i, j]) if scored.known[i, j] else None
    suspected = float(np.nan_to_num(doubt[i, j]))
    return Finding(kind, int(scored.rows[i]), j, given, float(scored.scores[i, j]), suspected, copy)


def _contradictions(scored: "Scored", pairs: "Pairs", doubt: np.ndarray) -> Iterator[Finding]:
    """The two cells of each label that is given to one of two copies alone, the likelier mistake first."""
    place = {row: i for i, row in enumerate(scored.rows.tolist())}
    seen: set[tuple[int, int]] = set()
    found = []
    for a, b in [*(pairs["identical"] or ()), *(pairs["near"] or ())]:
        if a not in place or b not in place:
            continue
        i, k = place[a], place[b]
        both = scored.known[i] & scored.known[k]
        for j in np.flatnonzero(both & (scored.target[i] != scored.target[k])).tolist():
            cells = [_finding("copies", scored, doubt, i, j, b), _finding("copies", scored, doubt, k, j, a)]
            cells.sort(key=lambda each: -each.suspicion)
            found.append(cells)
    for cells in sorted(found, key=lambda each: -each[0].suspicion):
        for cell in cells:
            if (cell.row, cell.label) not in seen:
                seen.add((cell.row, cell.label))
                yield cell


def table_of(findings: Sequence[Finding], source: Source) -> bytes:
    """``review.csv``: a row a finding, which a spreadsheet does not run; its column ``reviewed`` is to be filled in."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*COLUMNS, "kind", "score", "suspicion", "copy"])
    for each in findings:
        copy = "" if each.copy is None else image_cell(source, each.copy)
        numbers = f"{each.score:.4f}", f"{each.suspicion:.4f}"
        cell = [image_cell(source, each.row), safe_cell(source.names[each.label])]
        table.writerow([*cell, "" if each.given is None else each.given, "", each.kind, *numbers, copy])
    return text.getvalue().encode(errors="surrogateescape")


def image_cell(source: Source, row: int) -> str:
    """The name of an image as it stands in a table."""
    return path_cell(Path(source.ids[row]))
