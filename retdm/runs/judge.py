"""A checkpoint's criteria: what ``metrics.json`` and ``test.json`` hold."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import Trainer

from retdm.criteria import decide, evaluate
from retdm.data.module import Data
from retdm.methods.base import DeepMethod
from retdm.runs.folder import RunFolder
from retdm.training.evaluation import Evaluation
from retdm.training.resume import continue_from


def judge(trainer: Trainer, method: DeepMethod, data: Data, checkpoint: Path) -> dict[str, Any]:
    """Validation, threshold and test of one checkpoint, in all processes of the run.

    Returns:
        The report without ``seconds`` and ``images``; under ``predictions`` the test part's arrays.
    """
    evaluation = next(c for c in trainer.callbacks if isinstance(c, Evaluation))  # type: ignore[attr-defined]
    method.load_state_dict(continue_from(checkpoint)["state_dict"])
    predictions = {}
    for part in ("validation", "test"):
        data.judged = part
        trainer.test(method, datamodule=data, verbose=False)
        predictions[part] = evaluation.predictions
    threshold = evaluation.threshold_on(predictions["validation"])
    reports = {}
    for name, part, rule in (
        ("validation", "validation", method.decide),
        ("test", "test", method.decide),
        ("test_validation_threshold", "test", "validation"),
    ):
        rows = predictions[part]
        predicted = decide(rows["scores"], rule, threshold)
        reports[name] = evaluate(rows["scores"], rows["target"], rows["known"], method.labels, predicted)
    return {
        **{name: report["criteria"] for name, report in reports.items()},
        "threshold": threshold,
        "per_label": reports["test"]["per_label"],
        "left_out": {**reports["test"]["left_out"], **data.left_out},
        "predictions": predictions["test"],
    }


def write_predictions(folder: RunFolder, rows: dict[str, np.ndarray], labels: list[str]) -> None:
    """``predictions.npz`` of the test part, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **rows, labels=np.array(labels))  # type: ignore[arg-type]
    part = folder.predictions.with_name(folder.predictions.name + ".part")
    part.write_bytes(buffer.getvalue())
    part.replace(folder.predictions)
