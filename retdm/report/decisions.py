"""The label sets that a finished run decided on, from its folder alone. Notation: n images, L labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retdm.criteria import RULES, decide
from retdm.report.read import Run

OWN = "train_threshold"  # the rule of thresholds that only the method knows


def decides(run: Run) -> bool:
    """Its rule can be applied to its ``predictions.npz``."""
    return run.config["method"].get("decide") in RULES


def decided_by(run: Run, rows: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """The decided label sets (n, L) of a run's ``rows``, see :meth:`retdm.report.read.Run.predictions`."""
    metrics, rule, scores = run.metrics or {}, run.config["method"]["decide"], rows["scores"]
    if rule != OWN:
        threshold = metrics.get("threshold")
        return decide(scores, rule, 0.5 if threshold is None else threshold)
    # No image lies between a label's threshold and the lowest score that it let pass.
    counts = [metrics["per_label"].get(label, {}).get("predicted") or 0 for label in run.labels]
    lowest = np.full(len(counts), np.inf)
    for j, count in enumerate(counts):
        known = np.sort(scores[rows["known"][:, j].astype(bool), j])
        if 0 < count <= len(known):
            lowest[j] = known[-count]
    return decide(scores, rule, lowest)
