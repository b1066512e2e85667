"""The labels of a run: their frequency in each split, and how well each is found. Notation: n images, L labels."""

from typing import NamedTuple

import numpy as np

from retdm.report.one_run.evaluated import Evaluated
from retdm.report.one_run.words import between
from retdm.report.read import Run
from retdm.report.tables import number
from retdm.settings.types import fits

MOST_LABELS = 120  # of more, the best and the worst are shown
FEW = 10  # test images below which a label has no interval
COLUMNS = ("P", "R", "F1", "AP")
OF_BANDS = ("C-P", "C-R", "C-F1", "mAP")


class Bar(NamedTuple):
    """The average precision of a label as a bar; places in percent.

    Attributes:
        label: its name.
        value: as text.
        length: of the bar.
        interval: (left end, width, text); None for a label of few images.
        chance: its frequency, what scores without meaning reach.
        images: of the test split that have it.
    """

    label: str
    value: str
    length: float
    interval: tuple[float, float, str] | None
    chance: float
    images: int


def best_first(of: Evaluated, labels: list[str]) -> list[int]:
    """Labels with a positive by average precision; of more than ``MOST_LABELS`` the best and the worst half."""
    values = [of.found["per_label"][label]["AP"] for label in labels]
    order = sorted((j for j, value in enumerate(values) if value is not None), key=lambda j: -(values[j] or 0))
    return order if len(order) <= MOST_LABELS else [*order[: MOST_LABELS // 2], *order[-(MOST_LABELS // 2) :]]


def bars(of: Evaluated, labels: list[str], order: list[int]) -> list[Bar]:
    """A bar for each label of ``order``."""
    cells = of.known.sum(axis=0)
    found = []
    for j in order:
        row = of.found["per_label"][labels[j]]
        value, images = float(row["AP"] or 0), int(row["positives"] or 0)
        low, high = of.intervals.per_label["AP"][j]
        told = images >= FEW and not np.isnan(low)
        interval = (_percent(low), _percent(high - low), f"{number(low)} to {number(high)}") if told else None
        found.append(Bar(labels[j], number(value), _percent(value), interval, _percent(images / cells[j]), images))
    return found


def _percent(share: float) -> float:
    return round(100 * float(share), 2)


def table(of: Evaluated, labels: list[str], order: list[int]) -> list[list[tuple[str, str]]]:
    """A row a label: its name, test images, predicted images, then P, R, F1 and AP, each with its interval."""
    rows = []
    for j in order:
        row = of.found["per_label"][labels[j]]
        cells = [(labels[j], ""), (f"{row['positives']:,}", ""), (f"{row['predicted']:,}", "")]
        for key in COLUMNS:
            low, high = of.intervals.per_label[key][j]
            told = int(row["positives"] or 0) >= FEW and not np.isnan(low)
            cells.append((number(row[key]), f"{number(low)} to {number(high)}" if told else ""))
        rows.append(cells)
    return rows


def band_rows(of: Evaluated) -> list[list[tuple[str, str]]]:
    """A row a frequency band of labels: its name, its labels, then C-P, C-R, C-F1 and mAP with their intervals; none
    where all labels are of one band."""
    rows = []
    for name, band in of.bands.items():
        if band["labels"]:
            least, most = band["positives"]
            limits = f"{least:,} and more" if most is None else f"{least:,} to {most:,}"
            cells = [(f"{name}: {limits}", ""), (f"{band['labels']:,}", "")]
            cells += [(number(band["criteria"][key]), between(band["intervals"][key])) for key in OF_BANDS]
            rows.append(cells)
    return rows if len(rows) > 1 else []


class Splits(NamedTuple):
    """A table of the splits: their names, rows of their sizes and of labels each, and a row a label."""

    names: list[str]
    rows: list[tuple[str, list[str]]]
    labels: list[tuple[str, list[str]]]


def splits(run: Run, of: Evaluated | None, kind: str) -> Splits:
    """What a run's folder knows of its splits; of an older run the numbers of labels in the test split alone."""
    recorded = (run.metrics or {}).get("label_counts")
    if not isinstance(recorded, dict):
        recorded = {} if of is None else {"test": of.target.sum(axis=0).tolist()}
    sizes, found = run.sizes, {name: each for name, each in recorded.items() if fits(each, list[int])}
    counts = [found[name] if len(found.get(name, [])) == len(run.labels) else None for name in sizes]
    rows = [(kind, [f"{size:,}" for size in sizes.values()])]
    if not any(counts):
        return Splits(list(sizes), rows, [])
    pairs = zip(counts, sizes.values(), strict=True)
    means = [number(sum(each) / size, 2) if each and size else "" for each, size in pairs]
    rows.append((f"labels of each {kind[:-1]}, on average", means))
    of_labels = [(label, [f"{each[j]:,}" if each else "" for each in counts]) for j, label in enumerate(run.labels)]
    return Splits(list(sizes), rows, of_labels)
