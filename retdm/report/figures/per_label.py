"""Figures of labels: the average precision of each, and their co-occurrence. Notation: n images, L labels."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from retdm.display.figure_text import label_names
from retdm.report.decisions import decided_by, decides
from retdm.report.figures.draw_per_label import draw_co_occurrence, draw_label_precision
from retdm.report.figures.shown_groups import MOST_SHOWN, Drawn, choose, names_of, of_all, styled
from retdm.report.figures.style import MOST_LABELS, MOST_PAIRED
from retdm.report.groups import Floats, Group
from retdm.report.read import Run
from retdm.runs.folder.paths import RunFolder

MOST_BESIDE = 3  # groups whose panels stand beside the true one

Bools = NDArray[np.bool_]


def label_precision(groups: Sequence[Group], methods: Sequence[str]) -> Iterator[Drawn]:
    """Average precision of each label."""
    shown = choose(groups, MOST_SHOWN)
    labels, names = groups[0].runs[0].labels, names_of(shown)
    values = {name: per_label(group, "AP") for group, name in zip(shown, names, strict=True)}
    if all(np.isnan(rows).all() for rows in values.values()):
        return
    positives = np.concatenate([per_label(group, "positives") for group in shown]).mean(axis=0)
    title = f"Average precision of each label of {groups[0].data}, test split"
    caption = (
        "Mean over splits, lines from the least split to the greatest; dotted: mAP; beside a label its test images."
    )
    if len(labels) > MOST_LABELS:
        caption += f" The best and the worst {MOST_LABELS // 2} of {len(labels)} labels."
    figure = draw_label_precision(title, labels, positives, values, styled(shown, names, methods))
    yield Drawn("label_precision", title, caption + of_all(shown, groups), figure)


def per_label(group: Group, key: str) -> Floats:
    """(splits, L); NaN where undefined."""
    reports = [run.metrics["per_label"] for run in group.runs if run.metrics is not None]
    values = [[report.get(label, {}).get(key) for label in group.runs[0].labels] for report in reports]
    return np.array(values, dtype=np.float64)


def co_occurrence(groups: Sequence[Group]) -> Iterator[Drawn]:
    """Labels that occur together, true ones and those predicted under each run's rule, over all its splits."""
    groups = [group for group in groups if any(_decides(run) for run in group.runs)]
    labels = groups[0].runs[0].labels if groups else []
    if len(labels) < 2:
        return
    shown = choose(groups, MOST_BESIDE)
    truth: dict[int, tuple[Bools, Bools]] = {}
    decided: dict[str, list[tuple[Bools, Bools]]] = {}
    for group, name in zip(shown, names_of(shown), strict=True):
        rows = [_decided(run) for run in group.runs if _decides(run)]
        decided[name] = [(predicted, known) for _, _, predicted, known in rows]
        truth |= {split: (target, known) for split, target, _, known in rows}
    kept = _most_paired(list(truth.values()))
    true = _shares(list(truth.values()), kept)
    title = f"Labels of {groups[0].data} that occur together, test split"
    caption = "Of the images with the label of a row, the share that have a column's as well, over all splits."
    if len(kept) < len(labels):
        caption += f" The {len(kept)} of {len(labels)} labels that occur with others most often."
    cells = {name: _shares(parts, kept) for name, parts in decided.items()}
    names = label_names(labels, 18)
    figure = draw_co_occurrence(title, [names[j] for j in kept], true, cells)
    yield Drawn("co_occurrence", title, caption + of_all(shown, groups), figure)


def _decides(run: Run) -> bool:
    return decides(run) and RunFolder(run.folder).predictions.exists()


def _decided(run: Run) -> tuple[int, Bools, Bools, Bools]:
    """Split, target, decided labels and known cells, (n, L) each."""
    rows = run.predictions()
    return run.split, rows["target"].astype(bool), decided_by(run, rows), rows["known"].astype(bool)


def _together(label_sets: Bools, known: Bools) -> tuple[Floats, Floats]:
    """(L, L): images with the labels of row and column, and those with the row's where the column's is known."""
    have = (label_sets & known).astype(np.float64)
    return have.T @ have, have.T @ known.astype(np.float64)


def _shares(parts: Sequence[tuple[Bools, Bools]], kept: NDArray[np.int64]) -> Floats:
    """Of the ``kept`` labels, the share of images with a row's that have a column's; NaN where there are none."""
    both, having = np.sum([_together(label_sets[:, kept], known[:, kept]) for label_sets, known in parts], axis=0)
    shares: Floats = np.divide(both, having, out=np.full_like(both, np.nan), where=having > 0)
    return shares


def _most_paired(parts: Sequence[tuple[Bools, Bools]]) -> NDArray[np.int64]:
    """The labels that most often stand with others, in their own order; all where they can be read."""
    pairs = np.zeros(parts[0][0].shape[1])
    for label_sets, known in parts:
        have = label_sets & known
        pairs += have.T.astype(np.float64) @ (have.sum(axis=1) - 1.0)  # of an image all labels but the one itself
    return np.sort(np.argsort(-pairs, kind="stable")[:MOST_PAIRED])
