"""The share of each backbone stage in what linear methods select and score. Notation: R runs, n images, L labels, S
stages."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from retdm.display.text import safe_cell
from retdm.report.decisions import decided_by
from retdm.report.groups import Floats, Group, mean_std, validation_map
from retdm.report.read import Run
from retdm.report.tables import Table
from retdm.runs.folder.paths import RunFolder, read_json

MOST_LABEL_SHARES = 4  # labels of an image
RAW = "Features as they are: the penalty is less for a stage of greater values (method.standardise=true: alike)."


class Selection(NamedTuple):
    """How many coefficients of an L1 penalty are not zero.

    Attributes:
        labels, stages: names.
        widths: features of each stage; None where the runs do not say.
        counts: (R, L, S).
        standardised: the features were standardised before.
    """

    labels: list[str]
    stages: list[str]
    widths: list[int] | None
    counts: Floats
    standardised: bool

    @property
    def shares(self) -> Floats:
        """(R, L, S): of a label's selected features those of each stage; NaN for a label that selects none."""
        total = self.counts.sum(axis=2, keepdims=True)
        shares: Floats = np.divide(self.counts, total, out=np.full_like(self.counts, np.nan), where=total > 0)
        return shares

    @property
    def of_stage(self) -> Floats:
        """(R, L, S): of a stage's features those that are selected; NaN where its width is unknown."""
        return self.counts / np.array(self.widths or np.nan, np.float64)

    @property
    def names(self) -> list[str]:
        """Each stage with its features, as far as they are known."""
        widths = [f" ({width:,})" for width in self.widths] if self.widths else [""] * len(self.stages)
        return [f"{stage}{width}" for stage, width in zip(self.stages, widths, strict=True)]


def selection_of(group: Group) -> Selection | None:
    """The features that the group's runs selected; None where their penalty selects nothing, or of one stage alone."""
    if group.runs[0].config["method"].get("penalty") != "l1":
        return None
    metrics = [run.metrics or {} for run in group.runs]
    if not all("selected" in one for one in metrics):
        return None
    labels = group.runs[0].labels
    stages = list(metrics[0]["selected"][labels[0]])
    widths = metrics[0].get("widths")
    counts = [[[one["selected"][label][stage] for stage in stages] for label in labels] for one in metrics]
    if len(stages) < 2:
        return None
    in_order = widths and [widths[stage] for stage in stages]
    standardised = bool(group.runs[0].config["method"].get("standardise"))
    return Selection(labels, stages, in_order, np.array(counts, np.float64), standardised)


def selecting(groups: Sequence[Group]) -> tuple[Group, Selection] | None:
    """Of the groups that select features the best by validation mAP."""
    for group in sorted(groups, key=validation_map, reverse=True):
        if (found := selection_of(group)) is not None:
            return group, found
    return None


def label_mean(values: Floats) -> Floats:
    """Mean over the labels of (R, L, S) that have a value: (R, S)."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=1)
    count = known.sum(axis=1)
    means: Floats = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return means


def selection_table(group: Group, found: Selection) -> Table:
    """A row a label: how many features it selects of each stage; below them their shares."""

    def cell(values: Floats, form: str) -> str:
        mean, std = mean_std(values)
        if np.isnan(mean):
            return ""
        return format(mean, form) + ("" if np.isnan(std) else f" ± {format(std, form)}")

    sums = found.counts.sum(axis=2)
    rows = [
        [label, *(cell(found.counts[:, j, s], ".1f") for s in range(len(found.stages))), cell(sums[:, j], ".1f")]
        for j, label in enumerate(found.labels)
    ]
    every = [*(cell(column, ".1f") for column in found.counts.mean(axis=1).T), cell(sums.mean(axis=1), ".1f")]
    rows.append(["mean of the labels", *every])
    rows.append(["of all selected", *(cell(column, ".1%") for column in label_mean(found.shares).T), ""])
    if found.widths:
        of_all = sums.mean(axis=1) / sum(found.widths)
        shares = [cell(column, ".1%") for column in label_mean(found.of_stage).T]
        rows.append(["of the stage's features", *shares, cell(of_all, ".1%")])
    title = f"{group.data}: features that {group.method} selects of each stage"
    notes = [f"{group.name}: coefficients that are not zero, mean over {_runs(group)}; stages from the input on."]
    if found.widths:
        notes.append("Beside a stage, and of the network in all, the number of its features.")
    notes += [RAW] if not found.standardised else []
    all_features = f"all ({sum(found.widths):,})" if found.widths else "all"
    return Table(title, ["label", *found.names, all_features], rows, notes=notes)


def _runs(group: Group) -> str:
    return f"{len(group.runs)} run{'s' * (len(group.runs) > 1)}"


def selection_tables(sets: Sequence[Sequence[Group]]) -> list[Table]:
    """One table for each set of groups that has one that selects; of several the best by validation mAP."""
    return [selection_table(*found) for groups in sets if (found := selecting(groups)) is not None]


def selected_csv(groups: Sequence[Group]) -> str:
    """A row for each label and stage of every group that selects; nothing where none does."""
    columns = ["data", "method", "backbone", "setting", "runs", "label", "stage", "features"]
    rows: list[list[object]] = [[*columns, "selected", "selected std", "share", "share std"]]
    for group in groups:
        if (found := selection_of(group)) is None:
            continue
        setting = " ".join(f"{key}={value}" for key, value in group.varied.items())
        first = [*map(safe_cell, (group.data, group.method, group.backbone, setting)), len(group.runs)]
        for j, label in enumerate(found.labels):
            for s, stage in enumerate(found.stages):
                values = [*mean_std(found.counts[:, j, s]), *mean_std(found.shares[:, j, s])]
                cells = ["" if np.isnan(value) else value for value in values]
                rows.append([*first, safe_cell(label), stage, found.widths[s] if found.widths else "", *cells])
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue() if len(rows) > 1 else ""


# Single images


class LabelShare(NamedTuple):
    """One label of an image.

    Attributes:
        sign: nothing for a hit, ``−`` for a missed label, ``+`` for an extra one, ``?`` for one that is unknown, or
            neither true nor predicted.
        values: (S,) the terms of the logit, one a stage.
    """

    label: str
    sign: str
    score: float
    values: Floats
    intercept: float


class Explained(NamedTuple):
    """An image with its true and predicted labels."""

    name: str
    picture: Path
    labels: list[LabelShare]


def explained(run: Run) -> tuple[list[str], list[Explained]]:
    """Stages, and the test images of which the run left a picture; none where it says nothing of contributions."""
    pictures = {int(path.stem.split("-")[1]): path for path in RunFolder(run.folder).pictures.glob("test-*.jpg")}
    rows = run.predictions() if pictures else {}
    if "contributions" not in rows:
        return [], []
    names = (read_json(RunFolder(run.folder).split) or {}).get("test", [])
    decided = decided_by(run, rows)
    shown = []
    for i, index in enumerate(rows["index"].tolist()):
        if index in pictures:
            target, known, scores = rows["target"][i] > 0, rows["known"][i] > 0, rows["scores"][i]
            of_it = np.flatnonzero((target & known) | decided[i])
            best_first = sorted(of_it if len(of_it) else [scores.argmax()], key=lambda j: -scores[j])
            of_labels = [
                LabelShare(
                    run.labels[j],
                    _sign(target[j], known[j], decided[i, j]),
                    float(scores[j]),
                    rows["contributions"][i, j].astype(np.float64),
                    float(rows["intercepts"][j]),
                )
                for j in best_first[:MOST_LABEL_SHARES]
            ]
            shown.append(Explained(str(names[i]) if i < len(names) else str(index), pictures[index], of_labels))
    return rows["stages"].tolist(), shown


def _sign(true: bool, known: bool, predicted: bool) -> str:
    if not known or not (true or predicted):
        return "?"
    return "" if true and predicted else "−" if true else "+"
