"""``labels_reviewed.csv``: the labels of a data set with what a person decided."""

import csv
import io
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from retdm.data.source import ImageFiles, Source
from retdm.data.user.csv_edit import edited
from retdm.data.user.csv_labels import CsvLabels
from retdm.data.user.label_file import LabelledFolder
from retdm.display.screen import muted
from retdm.errors import UserError
from retdm.files import atomic
from retdm.review.decisions import Changes, read_decisions
from retdm.runs.folder.paths import shown


class Written(NamedTuple):
    """What became of decisions: in words; the file, None where nothing changes; and a command that trains on it."""

    words: str
    file: Path | None
    command: str


def write_reviewed(source: Source, decisions: Path, out: Path, *, overwrite: bool) -> Written:
    """Write the source's labels with what was decided: beside the user's own label file, else into ``out``.

    A table of the user's own keeps its form and its name with ``_reviewed`` behind it; a COCO json and published sets
    become a table with a column a label. What is written is read again before it gets its name.

    Raises:
        UserError: see :func:`retdm.review.decisions.read_decisions`; the images are no files; or the file is there.
    """
    if not isinstance(source, ImageFiles):
        raise UserError("these images are drawn by the program: there is no table of their labels", "review your own")
    changes, decided = read_decisions(decisions, source)
    added = sum(value for value in changes.values())
    words = f"{decided:,} decisions: {added:,} labels added, {len(changes) - added:,} taken away or known to be absent"
    if not changes:
        return Written(f"{words}; nothing changes and nothing is written", None, "")
    own = isinstance(source, CsvLabels)
    if isinstance(source, CsvLabels):
        place, content = source.file.with_name(f"{source.file.stem}_reviewed.csv"), edited(source, changes)
    else:
        folder = source.file.parent if isinstance(source, LabelledFolder) else out
        place, content = folder / "labels_reviewed.csv", _table(source, changes)
    if place.exists() and not overwrite:
        raise UserError(f"{place} is there already", "replace it with overwrite=true, or give it another name")
    place.parent.mkdir(parents=True, exist_ok=True)
    with atomic(place) as part:
        part.write_bytes(content)
        _check(source, part, changes)
    labels = place.name if place.parent == source.folder else place.absolute()
    asked = [f"data.root={source.folder}", f"data.labels={labels}", *([] if own else ["data.other_columns=[]"])]
    rest = " with the other settings of data" if own else ""
    return Written(words, Path(shown(place)), f"{shlex.join(['retdm', 'train', 'data=csv', *asked])}{rest}")


def _table(source: Source, changes: Changes) -> bytes:
    """A column a label and, where the publisher gives one, the split."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", *([] if source.split is None else ["split"]), *source.names])
    targets, known = _changed(source, changes)
    words = np.where(known, targets.astype(str), "")
    for row, name in enumerate(source.ids):
        table.writerow([name, *([] if source.split is None else [source.split[row]]), *words[row]])
    return text.getvalue().encode(errors="surrogateescape")


def _changed(source: Source, changes: Changes) -> tuple[np.ndarray, np.ndarray]:
    targets, known = source.targets.copy(), source.known.copy()
    for cell, value in changes.items():
        targets[cell], known[cell] = value, True
    return targets, known


def _check(source: ImageFiles, file: Path, changes: Changes) -> None:
    """Read the file as ``data=csv`` does, and compare it with what it should say.

    Raises:
        UserError: it says something else.
    """
    with muted("retdm", below=50):
        read = _reread(source)(str(source.folder), str(file.absolute()))
    targets, known = _changed(source, changes)
    column = {name: j for j, name in enumerate(read.names)}
    kept = [j for j, name in enumerate(source.names) if name in column]
    gone = np.delete(targets, kept, axis=1)
    there = [column[source.names[j]] for j in kept]
    same = (
        read.ids == list(source.ids)
        and not gone.any()
        and np.array_equal(read.known[:, there], known[:, kept])
        and np.array_equal(read.targets[:, there] * read.known[:, there], (targets * known)[:, kept])
    )
    if not same:
        raise UserError(
            f"{file.name} would not say what was decided: names of images or labels do not survive in a table",
            "rename them, and review anew",
        )


def _reread(source: Source) -> Callable[[str, str], CsvLabels]:
    """A reader with the source's own settings."""
    if not isinstance(source, CsvLabels):
        return lambda root, labels: CsvLabels(root, labels, image_column="image", other_columns=[])
    return lambda root, labels: CsvLabels(root, labels, **source.settings)
