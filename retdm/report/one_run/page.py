"""The page of one run: what is on it, and its file."""

import hashlib
from pathlib import Path
from typing import Any

from retdm.criteria import CRITERIA, INSTANCE_CRITERIA
from retdm.decisions.calibration import in_words
from retdm.display.html import base64_text, rendered
from retdm.errors import UserError
from retdm.files import atomic
from retdm.report.decisions import own_calibration
from retdm.report.groups import split_names
from retdm.report.one_run import confusion, curves, labels, mistakes, origin
from retdm.report.one_run.evaluated import Evaluated, evaluated
from retdm.report.one_run.words import IN_WORDS, between, cards, of_kind
from retdm.report.page import TEMPLATES
from retdm.report.read import Run, read_run
from retdm.report.results import heading
from retdm.report.tables import Table, number
from retdm.report.training import training_of
from retdm.runs.folder.paths import RunFolder, shown
from retdm.settings.types import fits

MORE = ("test_validation_threshold", "validation")  # criteria beside those of the test split, where there are any
SCRIPT = (TEMPLATES / "run.js").read_text(encoding="utf-8")  # the only one that a browser runs on the page
SMALL = 24  # precision-recall curves that stand in the open


def write_run_page(folder: Path, out: Path | None = None) -> tuple[Path, Run, Evaluated | None]:
    """Write the page of a finished run, whole or not at all.

    Args:
        folder: of the run. Nothing of what it names is loaded, opened or run.
        out: of the page; None is ``report.html`` in the run's folder.

    Returns:
        The page's path, the run, and its evaluated test split.

    Raises:
        UserError: the folder holds no finished run, or a file of it cannot be read.
        OSError: the page cannot be written.
    """
    run = read_run(folder)
    if run is None:
        raise UserError(f"there is no run in {folder}", "a run's folder holds the config.yaml that retdm train wrote")
    if run.damage is not None:
        raise UserError(f"{shown(folder)} is damaged: {run.damage}", "run it anew with overwrite=true")
    if run.metrics is None:
        why = f"failed: {' '.join((run.error or '').splitlines()[:1])}" if run.error else "is not finished"
        raise UserError(f"{shown(folder)} {why}", "its command continues it")
    try:
        of = evaluated(run)
    except ValueError as error:
        raise UserError(f"{shown(RunFolder(folder).predictions)} cannot be evaluated: {error}") from error
    path = RunFolder(folder).page if out is None else out
    content = rendered(TEMPLATES / "run.html", **contents(run, of))
    with atomic(path) as part:
        part.write_bytes(content)
    return path, run, of


def contents(run: Run, of: Evaluated | None) -> dict[str, Any]:
    """Everything that the template names. Text of users is escaped there."""
    metrics = run.metrics or {}
    kind = "bags" if run.backbone == "none" else "images"
    order = [] if of is None else labels.best_first(of, run.labels)
    charts = [] if of is None else curves.label_charts(of, run.labels, order)
    half = SMALL // 2
    open_ones = charts if len(charts) <= SMALL else [*charts[:half], *charts[-half:]]
    training = training_of(run)
    wrong = [] if of is None else mistakes.worst(run, of)
    mixed = None if of is None else confusion.confused(of)
    return {
        "title": f"{run.method} on {run.data}",
        "facts": _facts(run),
        "kind": kind,
        "sizes": run.sizes,
        "cards": [card._replace(says=of_kind(card.says, kind)) for card in cards(metrics["test"], of)],
        "label_names": run.labels,
        "criteria": criteria_rows(run, of, kind),
        "validation_columns": [key for key in MORE if metrics.get(key) is not None],
        "threshold": number(metrics.get("threshold"), 2),
        "splits": labels.splits(run, of, kind),
        "left_out": _left_out(metrics),
        "training": [] if training is None else curves.training_charts(training),
        "stages": [] if training is None else _numbered([name for name, _, _ in training.stages]),
        "overall": None if of is None or not of.target.any() else curves.overall_chart(of),
        "reliability": None if of is None else curves.reliability_chart(of),
        "calibration": None if (how := own_calibration(run)) is None else in_words(how, run.labels),
        "small": open_ones,
        "other_small": charts[half:-half] if len(charts) > SMALL else [],
        "bars": [] if of is None else labels.bars(of, run.labels, order),
        "label_rows": [] if of is None else labels.table(of, run.labels, order),
        "columns": labels.COLUMNS,
        "few": labels.FEW,
        "bands": [] if of is None else labels.band_rows(of),
        "band_columns": labels.OF_BANDS,
        "matrix": None if mixed is None else confusion.matrix(mixed, run.labels),
        "mixed": [] if mixed is None else confusion.table(mixed, run.labels),
        "without": 0 if of is None else of.found["left_out"]["labels_without_positives"],
        "cut": of is not None and len(order) == labels.MOST_LABELS < len(run.labels),
        "mistakes": wrong,
        "wrong_labels": sorted({j for each in wrong for j in (*each.missed, *each.added)}),
        "script": SCRIPT,
        "scripts": f"'sha256-{base64_text(hashlib.sha256(SCRIPT.encode()).digest())}'",
        "pictured": any(each.picture for each in wrong),
        "near": any(each.near for each in wrong),
        "wrong": 0 if of is None else int(((of.predicted != of.target) & of.known).any(axis=1).sum()),
        "tested": 0 if of is None else len(of.index),
        "run": shown(run.folder),
        "pictures": [each for each in (mistakes.heat_maps(run), mistakes.examples(run)) if each is not None],
        "embedding": mistakes.embedding(run),
        "command": origin.command(run),
        "made_with": origin.made_with(run),
        "settings": origin.settings(run),
        "warnings": origin.warnings(run),
    }


def criteria_rows(run: Run, of: Evaluated | None, kind: str) -> list[tuple[str, str, list[str]]]:
    """Of each criterion: heading, what it says, and test, interval, test at threshold, validation where there are."""
    metrics = run.metrics or {}
    intervals = {} if of is None else of.intervals.criteria
    parts = [metrics[key] for key in MORE if metrics.get(key) is not None]
    rows = []
    for name in (*CRITERIA, *INSTANCE_CRITERIA):
        if name in metrics["test"]:
            cells = [number(metrics["test"][name]), between(intervals.get(name))]
            cells += [number(part.get(name)) for part in parts]
            rows.append((heading(name), of_kind(IN_WORDS[name], kind), cells))
    return rows


def criteria_table(run: Run, of: Evaluated | None) -> Table:
    """The test split's criteria with their intervals, for the screen."""
    rows = [[name, *cells[:2]] for name, _, cells in criteria_rows(run, of, "images")]
    return Table(" · ".join([run.data, run.method, *_facts(run)]), ["criterion", "test", "95 % interval"], rows)


def _facts(run: Run) -> list[str]:
    network = [] if run.backbone == "none" else [run.backbone]
    return [*network, split_names([run.split_fold], run.folds), origin.when(run)]


def _numbered(stages: list[str]) -> list[str]:
    return [f"{place} {stage.replace('_', ' ')}" for place, stage in enumerate(stages, 1)]


def _left_out(metrics: dict[str, Any]) -> list[str]:
    """``3 unreadable images``, of what is left out of the data and of criteria."""
    found = metrics.get("left_out")
    counts: dict[str, int] = found if isinstance(found, dict) and fits(found, dict[str, int]) else {}
    return [f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count]
