"""Criteria of a method's weights, the content of ``metrics.json`` and ``test.json``."""

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retdm import criteria
from retdm.data.base_module import Data
from retdm.data.modules import ImageData
from retdm.errors import UserError
from retdm.files import atomic
from retdm.methods.base import Method
from retdm.runs.folder.paths import RunFolder
from retdm.runs.instances import evaluate_instances_of
from retdm.stop import is_leader
from retdm.training.evaluation import threshold_on
from retdm.training.inference import predict
from retdm.training.pictures.images import choose_rows

OWN = "train_threshold"  # the rule that takes the method's own thresholds
SHOWN, MISTAKES, SIDE = 6, 24, 224  # images, and pixels of the longer side

log = logging.getLogger("retdm")


def evaluate_method(method: Method, data: Data, validation: dict[str, Any] | None) -> dict[str, Any]:
    """Validation, threshold and test of a method's weights, computed by all processes of the run.

    The criteria of instances are among those of the test split where there are some, see
    :func:`retdm.runs.instances.evaluate_instances_of`.

    Args:
        method: on the device that computes.
        validation: what :func:`evaluate_validation` gave, of the same weights or, where they were trained on the
            validation split too, of those before; None computes it.

    Returns:
        The report without ``seconds`` and ``images``; under ``predictions`` the test split's arrays.
    """
    report = _evaluated(method, data, validation)
    if is_leader():
        report["test"] |= evaluate_instances_of(method, data)
    return report


def main_criteria(method: Method, data: Data, validation: dict[str, Any] | None = None) -> dict[str, Any]:
    """``validation``, ``test`` and ``test_validation_threshold`` of :func:`evaluate_method`, without the criteria of
    instances: what a report has of each of the weights that a run compares."""
    report = _evaluated(method, data, validation)
    return {key: report[key] for key in ("validation", "test", "test_validation_threshold")}


def _evaluated(method: Method, data: Data, validation: dict[str, Any] | None) -> dict[str, Any]:
    validation = validation or evaluate_validation(predict(method, data, "validation"), method)
    threshold = validation["threshold"]
    rows = predict(method, data, "test")
    found = criteria_of(rows, method, method.decide, threshold)
    return {
        "validation": validation["criteria"],
        "test": found["criteria"],
        "test_validation_threshold": None
        if threshold is None
        else criteria_of(rows, method, "validation", threshold)["criteria"],
        "threshold": threshold,
        "per_label": found["per_label"],
        "left_out": {**found["left_out"], **data.left_out},
        "predictions": rows,
    }


def evaluate_validation(rows: dict[str, np.ndarray], method: Method, threshold: float | None = None) -> dict[str, Any]:
    """``criteria`` of a method's predictions of the validation split, and the ``threshold``: None takes the one that is
    best on them."""
    threshold = threshold_on(rows) if threshold is None else threshold
    return {"criteria": criteria_of(rows, method, method.decide, threshold)["criteria"], "threshold": threshold}


def criteria_of(rows: dict[str, np.ndarray], method: Method, rule: str, threshold: float | None) -> criteria.Evaluation:
    """Criteria of predictions under a decision rule, see :func:`retdm.criteria.evaluate`."""
    predicted = decided(rows["scores"], method, rule, threshold)
    return criteria.evaluate(rows["scores"], rows["target"], rows["known"], method.labels, predicted)


def decided(scores: np.ndarray, method: Method, rule: str, threshold: float | None) -> np.ndarray:
    """The label sets (n, L) of ``scores`` under a decision rule.

    Raises:
        UserError: the rule takes a threshold, and there is none.
    """
    if rule == "validation" and threshold is None:
        raise UserError("decide=validation has no threshold", "threshold=<number>, or method.decide=half")
    return criteria.decide(
        scores, rule, own_thresholds(method) if rule == OWN else 0.5 if threshold is None else threshold
    )


def own_thresholds(method: Method) -> list[float]:
    """The thresholds (L,) that a method has chosen on its training split.

    Raises:
        UserError: it chooses none.
    """
    if not method.has_thresholds:
        raise UserError(f"{type(method).__name__} chooses no thresholds on its training split", "take another decide=…")
    thresholds: list[float] = method.thresholds.tolist()
    return thresholds


def write_predictions(folder: RunFolder, rows: dict[str, np.ndarray], labels: list[str]) -> None:
    """``predictions.npz`` of the test split, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **rows, labels=np.array(labels))  # type: ignore[arg-type]
    with atomic(folder.predictions) as part:
        part.write_bytes(buffer.getvalue())


def label_counts(data: Data) -> dict[str, list[int]]:
    """By split how many of its rows are known to have each of the L labels."""
    has = data.source.targets.astype(bool) & data.source.known
    return {name: has[rows].sum(axis=0).tolist() for name, rows in data.splits.items()}


def write_mistakes(
    folder: RunFolder, data: Data, method: Method, rows: dict[str, np.ndarray], threshold: float | None
) -> None:
    """The test images that were decided worst as ``pictures/mistakes/<index>.jpg``, for the page of the run.

    Nothing where the data has no images. One that fails is a warning, never a stop.
    """
    if not isinstance(data, ImageData):
        return
    try:
        predicted = decided(rows["scores"], method, method.decide, threshold)
        worst = criteria.worst_decisions(rows["scores"], rows["target"], rows["known"], predicted, MISTAKES)
        folder.pictures.mkdir(exist_ok=True)
        for index in rows["index"][worst]:
            _write_image(folder.mistakes / f"{index}.jpg", data, int(index))
    except Exception as error:
        log.warning("the pictures of the worst mistakes failed: %s: %s", type(error).__name__, error)
        log.debug("where it failed", exc_info=True)


def write_shown(folder: RunFolder, data: Any, rows: dict[str, np.ndarray]) -> None:
    """A few test images as ``pictures/test-<index>.jpg``, for a report that explains their scores.

    Args:
        data: a set of images.
        rows: index, target and known of the test split.
    """
    for index in rows["index"][choose_rows(rows["target"] * rows["known"], SHOWN)]:
        _write_image(folder.pictures / f"test-{index}.jpg", data, int(index))


def _write_image(path: Path, data: Any, index: int) -> None:
    image = Image.fromarray(np.array(data.images[index]))
    image.thumbnail((SIDE, SIDE))
    with atomic(path) as part:
        image.save(part, format="JPEG", quality=85)
