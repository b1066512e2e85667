"""The files of a prediction: ``predictions.csv`` and ``predictions.json``."""

import csv
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from retdm.commands.output.gallery import Card
from retdm.display.text import path_cell, safe_cell
from retdm.runs.trained.image_files import Unread


class Found(NamedTuple):
    """Predictions before they are written. Notation: n readable images, L labels.

    Attributes:
        files: n paths as they were asked for.
        scores: float32 (n, L).
        decided: bool (n, L), labels that the rule predicts.
        cards: each image as a gallery shows it, where one is asked for.
        unreadable: the other files.
    """

    files: list[Path]
    scores: np.ndarray
    decided: np.ndarray
    cards: list[Card]
    unreadable: list[Unread]


def predictions(found: Found, about: dict[str, Any]) -> tuple[bytes, bytes]:
    """``predictions.csv`` and ``predictions.json``.

    The table has a row an image: path, predicted labels joined by ``;``, then a column of scores a label. A spreadsheet
    runs none of its cells. The JSON has ``about``, then ``images``, one a line, with scores and predicted labels by
    name, then those that could not be read, with reasons; its names are not changed.

    Args:
        found: the predictions.
        about: the run, rule and ``labels``.
    """
    labels: list[str] = about["labels"]
    cells, keys = [safe_cell(label) for label in labels], [f"{json.dumps(label)}: " for label in labels]
    text, images = io.StringIO(), []
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "labels", *cells])
    for file, row, predicted in zip(found.files, found.scores, found.decided, strict=True):
        # The shortest decimals that read back as the same float32, once for both: with many labels they take the time.
        scores: list[str] = row.astype(str).tolist()
        decided = np.flatnonzero(predicted)
        table.writerow([path_cell(file), ";".join(cells[j] for j in decided), *scores])
        named = json.dumps([labels[j] for j in decided])
        pairs = ", ".join(key + score for key, score in zip(keys, scores, strict=True))
        images.append(f'{{"path": {json.dumps(str(file))}, "labels": {named}, "scores": {{{pairs}}}}}')
    unreadable = json.dumps([{"path": str(file), "reason": reason} for file, reason in found.unreadable])
    head, lines = json.dumps(about, allow_nan=False)[:-1], ",\n".join(images)
    report = f'{head},\n"images": [\n{lines}\n],\n"unreadable": {unreadable}}}\n'
    return text.getvalue().encode(errors="surrogateescape"), report.encode()  # a file's name need not be UTF-8
