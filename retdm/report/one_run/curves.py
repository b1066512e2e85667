"""The charts of a run: its training by epoch, and precision against recall. Notation: n images, L labels."""

import numpy as np
from numpy.typing import NDArray

from retdm.criteria.calibration import calibration_error, reliability
from retdm.criteria.ranking import Ranks, ranks
from retdm.report.one_run.charts import Chart, Scale, around, line
from retdm.report.one_run.evaluated import Evaluated
from retdm.report.tables import number
from retdm.report.training import Training

UNIT = Scale(0, 1)
STEPS = 60  # points of a precision-recall curve


def training_charts(training: Training) -> list[Chart]:
    """Losses and validation mAP by epoch; none of what was not logged."""
    last = max(end for _, _, end in training.stages)
    epochs = Scale(0.5, last + 0.5)
    ticks = [(place, text) for place, text in epochs.ticks(8) if "." not in text]
    ends = [(epochs.place(first - 0.5), epochs.place(end + 0.5)) for _, first, end in training.stages]
    bands = [(left, round(right - left, 2)) for left, right in ends] if len(ends) > 1 else []
    charts = []
    losses = (("one", training.train_loss), ("two dashed", training.validation_loss))
    if any(values for _, values in losses):
        found = [value for _, values in losses for value in values.values()]
        scale = around(found, low=0 if min(found) >= 0 else None)
        lines = [
            line(kind, [(epoch, values[epoch]) for epoch in sorted(values) if first <= epoch <= end], epochs, scale)
            for kind, values in losses
            for _, first, end in training.stages  # another sum of losses begins with each
        ]
        lines = [each for each in lines if each.points]
        says = "; ".join(
            f"{name} loss from {number(values[min(values)])} to {number(values[max(values)])}"
            for name, (_, values) in zip(("training", "validation"), losses, strict=True)
            if values
        )
        charts.append(Chart("Loss", "", says, lines, ticks, scale.ticks(), bands))
    if scores := training.validation_map:
        scale = around(scores.values(), high=1)
        best = max(scores, key=lambda epoch: scores[epoch])
        says = f"best {number(scores[best])} after epoch {best}, at the end {number(scores[max(scores)])}"
        lines = [line("one", [(epoch, scores[epoch]) for epoch in sorted(scores)], epochs, scale)]
        charts.append(Chart("mAP of the validation split", "", says, lines, ticks, scale.ticks(), bands))
    return charts


def overall_chart(of: Evaluated) -> Chart:
    """Precision against recall over all known cells at once, and where the run decides."""
    cells = of.known.ravel()
    found = ranks(of.scores.ravel()[cells][None], of.target.ravel()[cells][None], np.ones((1, cells.sum()), bool))
    criteria = of.found["criteria"]
    decided = (criteria["O-R"], criteria["O-P"])
    return _chart("All labels together", "", curve(found, 0), decided, 5)


def label_charts(of: Evaluated, labels: list[str], order: list[int]) -> list[Chart]:
    """The same of the labels in ``order``; each of them has a positive."""
    found = ranks(of.scores.T, of.target.T, of.known.T)
    rows = [of.found["per_label"][labels[j]] for j in order]
    return [
        _chart(labels[j], f"AP {number(row['AP'])}", curve(found, j), (row["R"], row["P"]), 3)
        for j, row in zip(order, rows, strict=True)
    ]


def curve(r: Ranks, row: int) -> list[tuple[float, float]]:
    """(recall, precision) at the positives of a row, from the highest score down, at most about ``STEPS`` of them."""
    places: NDArray[np.int64] = np.flatnonzero(r.relevant[row])
    if len(places) > STEPS:
        places = places[np.unique(np.linspace(0, len(places) - 1, STEPS).round().astype(int))]
    hits = r.relevant_rank[row, places]
    recall, precision = hits / r.relevant[row].sum(), hits / r.rank[row, places]
    points = dict(zip(recall.round(4).tolist(), precision.round(4).tolist(), strict=True))  # ties share a point
    return [(0.0, next(iter(points.values()))), *points.items()] if points else []


def reliability_chart(of: Evaluated) -> Chart | None:
    """The share of cells that are positive against their mean score, in bins of equally many known cells, and before
    calibration where there was any; None without a known cell."""
    lines, said = [line("ideal dashed", [(0.0, 0.0), (1.0, 1.0)], UNIT, UNIT, marked=False)], []
    for kind, name, scores in (
        ("two", " before calibration", of.raw),
        ("one", " after" if of.raw is not None else "", of.scores),
    ):
        if scores is None or (found := reliability(scores, of.target, of.known)) is None:
            continue
        lines.append(line(kind, list(zip(found.score.tolist(), found.share.tolist(), strict=True)), UNIT, UNIT))
        said.append(f"{number(calibration_error(scores, of.target, of.known))}{name}")
    if not said:
        return None
    note = f"calibration error, the mean over labels: {', '.join(said)}"
    return Chart("Scores and what they come to", note, note, lines, UNIT.ticks(5), UNIT.ticks(5))


def _chart(
    title: str, note: str, points: list[tuple[float, float]], decided: tuple[float | None, ...], ticks: int
) -> Chart:
    recall, precision = decided
    says = "precision by recall"
    lines = [line("one", points, UNIT, UNIT, marked=False)]
    if recall is not None and precision is not None:
        lines.append(line("two dot", [(recall, precision)], UNIT, UNIT))
        says = f"decided at precision {number(precision)}, recall {number(recall)}"
    return Chart(title, note, says, lines, UNIT.ticks(ticks), UNIT.ticks(ticks))
