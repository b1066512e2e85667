"""A look at a data set before it is trained on: counts and findings."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from retdm.data.module import BagData, Data, ImageData
from retdm.files import whole
from retdm.text import safe_cell

FLAT = 8  # of 255: an image none of whose colours reaches over more is nearly of one colour


class Finding(NamedTuple):
    """Something about one row of a set: what, which row, and which other row or why."""

    kind: str
    id: str
    detail: str


def counts(data: Data) -> dict[str, Any]:
    """Numbers of a set; label sets and labels per image are of rows whose cells are all known.

    Returns:
        images (or bags, and instances), labels, labels_per_image, label_sets, without_labels, unknown_cells.
    """
    targets, known = data.source.targets, data.source.known
    whole = targets[known.all(axis=1)]
    what = "bags" if isinstance(data, BagData) else "images"
    found: dict[str, Any] = {what: len(targets)}
    if isinstance(data, BagData):
        found["instances"] = int(data.source.offsets[-1])  # type: ignore[union-attr]
    return found | {
        "labels": targets.shape[1],
        f"labels_per_{what[:-1]}": float(whole.sum(1).mean()) if len(whole) else None,
        "label_sets": len(np.unique(whole, axis=0)),
        "without_labels": int((whole.sum(1) == 0).sum()),
        "unknown_cells": int((~known).sum()),
    }


def label_counts(data: Data) -> list[dict[str, Any]]:
    """Per label: its name, the rows that carry it (in all and in each part), the rows where it is unknown."""
    targets, known = data.source.targets, data.source.known
    columns = {
        "label": data.labels,
        "all": targets.sum(0, dtype=int).tolist(),
        **{part: targets[where].sum(0, dtype=int).tolist() for part, where in data.parts.items()},
        "unknown": (~known).sum(0).tolist(),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def findings(data: Data) -> list[Finding]:
    """Images that cannot be read, those that are nearly of one colour, and pairs that show the same picture."""
    ids = data.source.ids
    found = []
    if isinstance(data, ImageData):
        found = [Finding(fault.kind, ids[row], fault.message) for row, fault in data.faults.items()]
        for row in map(int, data.readable):
            pixels = data.images[row]
            low, high = pixels.min((0, 1)), pixels.max((0, 1))
            if (high - low).max() <= FLAT:
                found.append(Finding("constant", ids[row], f"values {low.min()} to {high.max()} of 255 at most"))
        for kind, pairs in (data.manifest["pairs"] or {}).items():
            for a, part, b, other in pairs or ():
                across = f"{part} and {other}" if part != other else f"both in {part}"
                found.append(Finding(kind, a, f"{b} ({across})"))
    return found


def write_findings(path: Path, found: list[Finding]) -> None:
    """As a csv with the columns kind, id, detail; whole or not at all."""
    with whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([Finding._fields, *(map(safe_cell, each) for each in found)])
