"""The test split of a run, evaluated again from its predictions. Notation: n images, L labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retdm.criteria import Band, Evaluation, Intervals, by_band, evaluate, intervals_of, resample
from retdm.report.decisions import decided_by, decides
from retdm.report.read import Run
from retdm.runs.folder.paths import RunFolder
from retdm.settings.types import fits


@dataclass(frozen=True)
class Evaluated:
    """Predictions of the test split and everything that is computed of them.

    Attributes:
        index: int64 (n,) rows of the data set.
        scores: (n, L) in [0, 1].
        target, known, predicted: bool (n, L); an unknown cell is no target.
        found: criteria, of each label too.
        intervals: of these.
        bands: of labels that are frequent in training and of rare ones; empty where the run does not say how many
            training images have each label.
        raw: scores as the network gives them, where the run calibrates; otherwise None.
    """

    index: NDArray[np.int64]
    scores: NDArray[np.float64]
    target: NDArray[np.bool_]
    known: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    found: Evaluation
    intervals: Intervals
    bands: dict[str, Band]
    raw: NDArray[np.float64] | None = None


def evaluated(run: Run) -> Evaluated | None:
    """The test split of a finished run; None where the run has no test images or left no predictions of them.

    Raises:
        ValueError: the predictions are not probabilities.
    """
    if not RunFolder(run.folder).predictions.exists() or not decides(run):
        return None
    rows = run.predictions()
    if not len(rows["index"]):
        return None
    known = rows["known"].astype(bool)
    target = np.where(known, rows["target"], 0).astype(bool)
    scores = rows["scores"].astype(np.float64)
    raw = rows["raw_scores"].astype(np.float64) if "raw_scores" in rows else None
    predicted = decided_by(run, rows)
    found = evaluate(scores, target, known, run.labels, predicted)
    drawn = resample(scores, target, known, predicted)
    positives = training_positives(run)
    bands = {} if positives is None else by_band(drawn, positives)
    return Evaluated(rows["index"], scores, target, known, predicted, found, intervals_of(drawn), bands, raw)


def training_positives(run: Run) -> list[int] | None:
    """How many training images have each label; None where the run does not say it."""
    recorded = (run.metrics or {}).get("label_counts")
    found: Any = recorded.get("train") if isinstance(recorded, dict) else None
    return found if fits(found, list[int]) and len(found) == len(run.labels) else None
