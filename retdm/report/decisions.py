"""The label sets that a finished run decided on, from its folder alone. Notation: n images, L labels."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retdm.decisions import decide, rule_of
from retdm.decisions.calibration import Calibration
from retdm.decisions.rules import Rule
from retdm.errors import UserError
from retdm.report.read import Run


def decides(run: Run) -> bool:
    """Its rule can be applied to its ``predictions.npz``."""
    return rule_of_run(run) is not None


def rule_of_run(run: Run) -> Rule | None:
    """The rule of a run; None where there is none of that name."""
    with suppress(UserError):
        return rule_of(run.config["method"].get("decide"))
    return None


def own_calibration(run: Run) -> Calibration | None:
    """How a run calibrates its scores; None where it does not."""
    how: Calibration | None = ((run.metrics or {}).get("decision") or {}).get("calibration")
    return how


def raw_scores(rows: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Scores (n, L) as the network gives them; ``scores`` of a run's ``rows`` are calibrated where it calibrates."""
    return rows["raw_scores"] if "raw_scores" in rows else rows["scores"]


def decided_by(run: Run, rows: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """The decided label sets (n, L) of a run's ``rows``, see :meth:`retdm.report.read.Run.predictions`."""
    metrics, rule, scores = run.metrics or {}, rule_of(run.config["method"]["decide"]), rows["scores"]
    if decision := metrics.get("decision"):
        return decide(scores, decision["rule"], decision["threshold"])
    if not rule.per_label:  # a run of a version that recorded no decision
        threshold = metrics.get("threshold")
        return rule.apply(scores, 0.5 if threshold is None else threshold)
    # No image lies between a label's threshold and the lowest score that it let pass.
    counts = [metrics["per_label"].get(label, {}).get("predicted") or 0 for label in run.labels]
    lowest = np.full(len(counts), np.inf)
    for j, count in enumerate(counts):
        known = np.sort(scores[rows["known"][:, j].astype(bool), j])
        if 0 < count <= len(known):
            lowest[j] = known[-count]
    return rule.apply(scores, lowest)
