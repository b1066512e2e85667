"""An overview of a data set before it is trained on: counts, findings, and one picture."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from retdm.data.base_module import Data
from retdm.data.modules import BagData, ImageData
from retdm.display.figure_text import label_names, plain
from retdm.display.text import safe_cell
from retdm.files import atomic

FLAT = 8  # of 255: an image whose colours all span at most this is nearly of one colour
SHOWN = 18  # images of the sample
VIEWED = 2  # images of which training views are drawn
COLUMNS = 9  # of images in a row
NAMED = 30  # labels whose names and counts are written large
MOST = 60  # labels that are shown
WIDE = 24  # characters of a line over an image
ABSENT = "known absent in train"  # a column of label_counts


class Finding(NamedTuple):
    """A finding about one row of a set: its kind, the row, and the other row or the reason."""

    kind: str
    id: str
    detail: str


def counts(data: Data) -> dict[str, Any]:
    """Counts of a set; label sets and labels per image are of rows whose cells are all known.

    Returns:
        images (or bags, and instances), labels, labels_per_image, label_sets, without_labels, unknown_cells,
        fully_known (rows).
    """
    targets, known = data.source.targets, data.source.known
    whole = targets[known.all(axis=1)]
    what = "bags" if isinstance(data, BagData) else "images"
    found: dict[str, Any] = {what: len(targets)}
    if isinstance(data, BagData):
        found["instances"] = len(data.bags.instances)
    return found | {
        "labels": targets.shape[1],
        f"labels_per_{what[:-1]}": float(whole.sum(1).mean()) if len(whole) else None,
        "label_sets": len(np.unique(whole, axis=0)),
        "without_labels": int((whole.sum(1) == 0).sum()),
        "unknown_cells": int((~known).sum()),
        "fully_known": len(whole),
    }


def label_counts(data: Data) -> list[dict[str, Any]]:
    """Of each label its name, the rows that have it (in all and in each split), the rows where it is unknown; where any
    label of a row is, the training rows known not to have it too."""
    targets, known = data.source.targets, data.source.known
    train = data.splits["train"]
    columns = {
        "label": data.labels,
        "all": targets.sum(0, dtype=int).tolist(),
        **{name: targets[rows].sum(0, dtype=int).tolist() for name, rows in data.splits.items()},
        "unknown": (~known).sum(0).tolist(),
    }
    if not known.all():
        columns[ABSENT] = (known[train] & (targets[train] == 0)).sum(0).tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def label_shares(data: Data) -> list[dict[str, Any]]:
    """Of each label its name and its share of the rows where it is known, of all and of each split; NaN without any."""
    targets, known = data.source.targets, data.source.known
    every = {"all": data.rows_of(*data.splits), **data.splits}
    with np.errstate(invalid="ignore"):
        shares = {name: targets[rows].sum(0, dtype=int) / known[rows].sum(0) for name, rows in every.items()}
    return [
        {"label": label, **{name: float(column[j]) for name, column in shares.items()}}
        for j, label in enumerate(data.labels)
    ]


def split_sizes(data: Data) -> list[str]:
    """Lines on groups, and on the sizes of splits that groups or labels keep from what the settings wish.

    Nothing where there are no groups and validation and test have the sizes that were wished.
    """
    if data.wished is None:
        return []
    reached = {name: len(rows) for name, rows in data.splits.items()}
    lines = []
    if data.source.group_of is not None:
        sizes = np.unique(data.source.group_of, return_counts=True)[1]
        lines.append(f"{len(sizes):,} groups, of {sizes.min():,} to {sizes.max():,} images, each in one split")
    if lines or any(reached[name] != data.wished[name] for name in ("validation", "test")):
        sides = (f"{name} {n:,} (wished {data.wished[name]:,})" for name, n in reached.items())
        lines.append(f"images of the splits: {', '.join(sides)}")
    return lines


def findings(data: Data) -> list[Finding]:
    """Images that cannot be read, those that are nearly of one colour, and pairs that show the same picture."""
    ids = data.source.ids
    found = []
    if isinstance(data, ImageData):
        found = [Finding(fault.kind, ids[row], fault.message) for row, fault in data.unreadable.items()]
        for row in map(int, data.readable):
            pixels = data.images[row]
            low, high = pixels.min((0, 1)), pixels.max((0, 1))
            if (high - low).max() <= FLAT:
                found.append(Finding("constant", ids[row], f"values {low.min()} to {high.max()} of 255 at most"))
        for kind, pairs in (data.manifest["pairs"] or {}).items():
            for a, split, b, other in pairs or ():
                across = f"{split} and {other}" if split != other else f"both in {split}"
                found.append(Finding(kind, a, f"{b} ({across})"))
    return found


def write_findings(path: Path, found: list[Finding]) -> None:
    """Write a csv with the columns kind, id, detail, atomically."""
    with atomic(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([Finding._fields, *(map(safe_cell, each) for each in found)])


def draw(data: Data, title: str, augmentation: str = "") -> Figure:
    """Sample images with their labels, training views, label frequencies, label co-occurrence, labels per image.

    Of very many labels the most frequent and the rarest.

    Args:
        data: the set.
        title: of the figure.
        augmentation: its name, over the training views.
    """
    targets, known, labels = data.source.targets, data.source.known, label_names(data.labels, 40)
    numbers = targets.sum(0, dtype=int)
    order = np.argsort(numbers, kind="stable")
    if len(order) > MOST:
        order = np.concatenate([order[: MOST // 2], order[-MOST // 2 :]])
    tall = max(3.4, 0.19 * len(order))
    sample, views = (4.3, 4.3) if isinstance(data, ImageData) else (0.0, 0.0)
    figure = Figure(figsize=(14, sample + views + tall + 1.3), dpi=100, layout="constrained")
    figure.suptitle(plain(title, 160), size=14)
    bottom: Any = figure
    if isinstance(data, ImageData):
        top, middle, bottom = figure.subfigures(3, 1, height_ratios=[sample, views, tall + 0.8])  # type: ignore[misc]
        _draw_sample(top, data)
        _draw_views(middle, data, augmentation)
    frequency, together, number = bottom.subplots(1, 3, width_ratios=[1.15, 1.25, 0.8])
    few = f"the {MOST // 2} most frequent and rarest of {len(labels):,}" if len(order) < len(labels) else ""
    _draw_frequencies(frequency, numbers[order], [labels[j] for j in order], few)
    shown = np.sort(order)
    _draw_together(together, targets[:, shown].astype(np.float64), [labels[j] for j in shown])
    sizes = targets[known.all(axis=1)].sum(1, dtype=int)
    number.set(title="labels per image", xlabel="labels", ylabel="images")
    if len(sizes):
        number.bar(np.arange(sizes.max() + 1), np.bincount(sizes), color="#4477aa")
        number.xaxis.get_major_locator().set_params(integer=True)
    number.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_sample(figure: Any, data: ImageData) -> None:
    """Rows spread evenly over those that can be read."""
    rows = data.rows_of("train", "validation", "test")
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, SHOWN).round().astype(int))]
    labels = label_names(data.labels, WIDE)
    grid = figure.subplots(-(-len(rows) // COLUMNS), COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, row in zip(grid.flat, rows, strict=False):
        target, known = data.source.targets[row], data.source.known[row]
        names = [labels[j] for j in np.flatnonzero(target)]
        if not known.all():
            names.append("?")
        axes.imshow(data.images[int(row)], interpolation="bilinear")
        axes.set_title(_wrapped(names or ["(no label)"]), size=8)


def _draw_views(figure: Any, data: ImageData, augmentation: str) -> None:
    """What training shows of the first images of the training split, an epoch a column; of mixed ones the labels'
    shares."""
    figure.suptitle(f"training views of {VIEWED} images in {COLUMNS} epochs   {augmentation}", size=11)
    labels = label_names(data.labels, WIDE)
    images: Any = data.rows(training=True)
    grid = figure.subplots(VIEWED, COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, row in zip(grid, data.splits["train"], strict=False):
        for epoch, axes in enumerate(line):
            batch = images.__getitems__([(epoch, int(row))])
            axes.imshow(batch.image[0].permute(1, 2, 0).numpy(), interpolation="bilinear")
            shares = {labels[j]: float(share) for j, share in enumerate(batch.target[0]) if share > 0}
            names = [name if share == 1 else f"{name} {share:.2f}" for name, share in shares.items()]
            axes.set_title(_wrapped(names or ["(no label)"]), size=8)


def _wrapped(names: list[str], most: int = 3) -> str:
    lines = [""]
    for name in names:
        if lines[-1] and len(lines[-1]) + len(name) > WIDE:
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + name
    return "\n".join(lines[:most]) + (" …" if len(lines) > most else "")


def _draw_frequencies(axes: Any, numbers: np.ndarray, names: list[str], few: str) -> None:
    places = np.arange(len(names))
    axes.barh(places, numbers, color="#4477aa")
    axes.set(title="images per label" + (f"\n{few}" if few else ""), ylim=(-0.6, len(names) - 0.4))
    size = 9 if len(names) <= NAMED else 6
    axes.set_yticks(places, names, size=size)
    for place, n in enumerate(numbers):
        axes.text(n, place, f" {n:,}", va="center", size=size)
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_together(axes: Any, targets: np.ndarray, names: list[str]) -> None:
    together = targets.T @ targets
    share = together / np.maximum(np.diag(together), 1)[:, None]
    np.fill_diagonal(share, np.nan)
    shown = axes.imshow(share, cmap="Blues", vmin=0, vmax=max(np.nanmax(share, initial=0), 0.01))
    axes.set_title("of the images with the row's label,\nthe share with the column's", size=10)
    size = 9 if len(names) <= NAMED else 4.5
    axes.set_xticks(np.arange(len(names)), names, rotation=90, size=size)
    axes.set_yticks(np.arange(len(names)), names, size=size)
    axes.figure.colorbar(shown, ax=axes, shrink=0.7)
