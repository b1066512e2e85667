"""Criteria of a method's weights, the content of ``metrics.json`` and ``test.json``."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from retdm import criteria
from retdm.data.base_module import Data
from retdm.decisions import decide, rule_of
from retdm.decisions.calibration import Calibration, calibrated, check_kind
from retdm.decisions.rules import Threshold
from retdm.errors import UserError
from retdm.methods.base import Method
from retdm.runs.folder.paths import RunFolder
from retdm.runs.folder.rows import VALIDATION, ChosenOn, Rows, write_chosen_on, write_rows
from retdm.runs.instances import evaluate_instances_of
from retdm.stop import is_leader
from retdm.training.evaluation import own_thresholds, threshold_on
from retdm.training.inference import predict

GIVEN = "given"  # what a threshold is chosen on that the run was given

log = logging.getLogger("retdm")


def evaluate_method(
    method: Method, data: Data, validation: dict[str, Any] | None, chosen_on: ChosenOn | None = None
) -> dict[str, Any]:
    """Validation, decision and test of a method's weights, computed by all processes of the run.

    The criteria of instances are among those of the test split where there are some, see
    :func:`retdm.runs.instances.evaluate_instances_of`.

    Args:
        method: on the device that computes.
        validation: what :func:`evaluate_validation` gave, of the same weights or, where they were trained on the
            validation split too, of those before; None computes it.
        chosen_on: what the decision rule chooses on; None takes the predictions of the validation split, where these
            weights were not trained on it.

    Returns:
        The report without ``seconds`` and ``images``; under ``predictions`` the test split's arrays, under
        ``chosen_on`` what was chosen on, or None.
    """
    report = _evaluated(method, data, validation, chosen_on)
    if is_leader():
        report["test"] |= evaluate_instances_of(method, data)
    return report


def main_criteria(
    method: Method, data: Data, validation: dict[str, Any] | None, chosen_on: ChosenOn | None
) -> dict[str, Any]:
    """``validation``, ``test`` and ``test_validation_threshold`` of :func:`evaluate_method`, without the criteria of
    instances: what a report has of each of the weights that a run compares."""
    report = _evaluated(method, data, validation, chosen_on)
    return {key: report[key] for key in ("validation", "test", "test_validation_threshold")}


def _evaluated(
    method: Method, data: Data, validation: dict[str, Any] | None, chosen_on: ChosenOn | None
) -> dict[str, Any]:
    if validation is None:
        found = predict(method, data, "validation")
        chosen_on = chosen_on or ChosenOn(found, VALIDATION)
        validation = evaluate_validation(found, method, chosen_on)
    threshold = validation["threshold"]
    how = calibration_of(method, chosen_on)
    decision = decision_of(method, chosen_on, threshold, validation.get("chosen_on", GIVEN), how)
    rows = calibrated_rows(predict(method, data, "test"), how)
    test = criteria_of(rows, method, decision)
    at_one = {"rule": "validation", "threshold": threshold}
    return {
        "validation": validation["criteria"],
        "test": test["criteria"],
        "test_validation_threshold": None if threshold is None else criteria_of(rows, method, at_one)["criteria"],
        "threshold": threshold,
        "decision": decision,
        "per_label": test["per_label"],
        "left_out": {**test["left_out"], **data.left_out},
        "predictions": rows,
        "chosen_on": chosen_on,
    }


def evaluate_validation(rows: dict[str, np.ndarray], method: Method, chosen_on: ChosenOn) -> dict[str, Any]:
    """``criteria`` of a method's predictions of the validation split, the one ``threshold`` that is best on what it is
    ``chosen_on``, and what that is."""
    how = calibration_of(method, chosen_on)
    threshold = threshold_on(calibrated_rows(chosen_on.rows, how))
    decision = decision_of(method, chosen_on, threshold, chosen_on.source, how)
    found = criteria_of(calibrated_rows(rows, how), method, decision)
    return {"criteria": found["criteria"], "threshold": threshold, "chosen_on": chosen_on.source}


def calibration_of(method: Method, chosen_on: ChosenOn | None) -> Calibration | None:
    """The calibration of a method's scores, fitted to what its rule chooses on; None where the method has none.

    Raises:
        UserError: there are no images to fit it to.
    """
    kind = check_kind(method.calibrate)
    if kind is not None and chosen_on is None:
        raise UserError(
            f"calibrate={kind} has nothing to be fitted to: the run is trained on its validation split",
            "train with refit=false, or calibrate=none",
        )
    return None if chosen_on is None else chosen_on.calibration(kind)


def calibrated_rows(rows: Rows, how: Calibration | None) -> Rows:
    """Predictions with calibrated ``scores``, and under ``raw_scores`` what they were."""
    if how is None:
        return rows
    return {**rows, "scores": calibrated(how, rows["scores"]), "raw_scores": rows["scores"]}


def criteria_of(rows: dict[str, np.ndarray], method: Method, decision: Mapping[str, Any]) -> criteria.Evaluation:
    """Criteria of predictions under a :func:`decision_of` a method, see :func:`retdm.criteria.evaluate`."""
    predicted = decide(rows["scores"], decision["rule"], decision["threshold"])
    return criteria.evaluate(rows["scores"], rows["target"], rows["known"], method.labels, predicted)


def decision_of(
    method: Method, chosen_on: ChosenOn | None, threshold: float | None, source: str, how: Calibration | None = None
) -> dict[str, Any]:
    """How a method decides: ``rule``, ``threshold`` (a number, one a label, or None), what it is ``chosen_on``, and
    the ``calibration`` of the scores where they are calibrated.

    Args:
        method: its weights.
        chosen_on: scored images to choose on.
        threshold: the one threshold for all labels.
        source: what that was chosen on.
        how: the calibration of the scores, under which the threshold is chosen.

    Raises:
        UserError: the rule takes a threshold, and there is neither one nor images to choose it on.
    """
    rule = rule_of(method.decide)
    chosen: Threshold = rule.fixed
    if rule.chosen_on == "training":
        chosen, source = own_thresholds(method), "training"
    elif rule.needs_rows:
        if chosen_on is None:
            raise UserError(
                f"decide={rule.name} has nothing to choose on: the run is trained on its validation split",
                "train with refit=false, or choose another decide=…",
            )
        chosen, source = chosen_on.choose(rule, how), chosen_on.source
    elif rule.chosen_on == "validation":
        if threshold is None:
            raise UserError("decide=validation has no threshold", "threshold=<number>, or method.decide=half")
        chosen = threshold
    decision = {"rule": rule.name, "threshold": chosen, "chosen_on": source if rule.chosen_on else None}
    return decision if how is None else {**decision, "calibration": how}


def write_predictions(folder: RunFolder, report: dict[str, Any], labels: list[str]) -> Rows:
    """Take the arrays out of a report and write them: ``predictions.npz`` of the test split, and ``validation.npz``.

    Returns:
        Those of the test split.
    """
    rows: Rows = report.pop("predictions")
    write_rows(folder.predictions, rows, labels)
    write_kept(folder, report, labels)
    return rows


def write_kept(folder: RunFolder, report: dict[str, Any], labels: list[str]) -> None:
    """Take what was chosen on out of a report and write it as ``validation.npz``."""
    kept: ChosenOn | None = report.pop("chosen_on")
    if kept is not None:
        write_chosen_on(folder, kept, labels)


def intervals_and_bands(
    rows: dict[str, np.ndarray], decision: Mapping[str, Any], labels: Sequence[str], positives: Sequence[int]
) -> dict[str, Any]:
    """How sure the criteria of the test split are, and what they are of frequent and of rare labels; plain values.

    Args:
        rows: arrays of the test split.
        decision: see :func:`decision_of`.
        labels: names of the L labels.
        positives: of each label, the training images that have it.

    Returns:
        ``intervals``: ``level``, ``resamples``, and [low, high] or None of the criteria of the ``test`` split and
        ``per_label``; ``bands``: see :func:`retdm.criteria.by_band`.
    """
    predicted = decide(rows["scores"], decision["rule"], decision["threshold"])
    found = criteria.resample(rows["scores"], rows["target"], rows["known"], predicted)
    of_criteria, of_labels = criteria.intervals_of(found)
    per_label = {
        label: {key: None if np.isnan(ends[j, 0]) else ends[j].tolist() for key, ends in of_labels.items()}
        for j, label in enumerate(labels)
    }
    intervals = {"level": criteria.LEVEL, "resamples": criteria.RESAMPLES, "test": of_criteria, "per_label": per_label}
    return {"intervals": intervals, "bands": criteria.by_band(found, positives)}


def label_counts(data: Data) -> dict[str, list[int]]:
    """By split how many of its rows are known to have each of the L labels."""
    has = data.source.targets.astype(bool) & data.source.known
    return {name: has[rows].sum(axis=0).tolist() for name, rows in data.splits.items()}
