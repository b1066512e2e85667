"""What a prediction leaves: ``predictions.csv`` and ``predictions.json``."""

import csv
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from retdm.runs.gallery import Card
from retdm.text import path_cell, safe_cell


class Unread(NamedTuple):
    """A file that cannot be read as an image, and why."""

    file: Path
    reason: str


class Found(NamedTuple):
    """What predicting leaves, before it is written. Letters: n readable images, L labels.

    Attributes:
        files: n paths as they were asked for.
        scores: float32 (n, L).
        decided: bool (n, L), labels that the rule gives.
        cards: what a gallery shows of each, where one is asked for.
        unreadable: the other files.
    """

    files: list[Path]
    scores: np.ndarray
    decided: np.ndarray
    cards: list[Card]
    unreadable: list[Unread]


def _shortest(scores: np.ndarray) -> list[list[float]]:
    """float32 as the shortest decimals that read back as the same float32."""
    rows: list[list[float]] = scores.astype(str).astype(float).tolist()
    return rows


def predictions_csv(found: Found, labels: list[str]) -> bytes:
    """A row an image: path, decided labels joined by ``;``, then a column of scores a label.

    No cell is one that a spreadsheet would run; ``predictions.json`` has the names as they are.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    named = [safe_cell(label) for label in labels]
    table.writerow(["path", "labels", *named])
    for file, row, carries in zip(found.files, _shortest(found.scores), found.decided, strict=True):
        table.writerow([path_cell(file), ";".join(named[j] for j in np.flatnonzero(carries)), *row])
    return text.getvalue().encode(errors="surrogateescape")  # a file's name is bytes, and need not be UTF-8


def predictions_json(found: Found, about: dict[str, Any]) -> bytes:
    """``about``, with the ``labels``; then ``images``, one a line, with scores and decided labels by name; and those
    that could not be read, with reasons."""
    labels: list[str] = about["labels"]
    images = [
        json.dumps(
            {
                "path": str(file),
                "labels": [labels[j] for j in np.flatnonzero(carries)],
                "scores": dict(zip(labels, row, strict=True)),
            },
            allow_nan=False,
        )
        for file, row, carries in zip(found.files, _shortest(found.scores), found.decided, strict=True)
    ]
    # An indented file of many numbers takes the slow one of Python's two writers, ten times as long.
    unreadable = json.dumps([{"path": str(file), "reason": reason} for file, reason in found.unreadable])
    head, lines = json.dumps(about, allow_nan=False)[:-1], ",\n".join(images)
    return f'{head},\n"images": [\n{lines}\n],\n"unreadable": {unreadable}}}\n'.encode()
