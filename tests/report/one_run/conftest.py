"""Runs as training leaves them, of made predictions, so that a page has something to show of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_runs import Make, write_run

from retdm.criteria import evaluate


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    """``make_run("name", n, labels, unknown=0.1, **more)``: a finished run whose scores tell something of its labels.

    ``more`` goes to :func:`report_runs.write_run`; ``metrics`` and ``settings`` add to what the run has.
    """

    def make(name: str, n: int, labels: list[str], unknown: float = 0.0, **more: Any) -> Path:
        g = np.random.default_rng(0)
        target = (g.random((n, len(labels))) < 0.4).astype(np.float32)
        scores = 1 / (1 + np.exp(-(3 * target - 1.5 + g.normal(size=target.shape))))
        known = g.random(target.shape) >= unknown
        found = evaluate(scores, target, known, labels, scores >= 0.5)
        counts = target.astype(int).sum(axis=0).tolist()
        metrics = {
            "test": found["criteria"],
            "per_label": found["per_label"],
            "left_out": found["left_out"],
            "label_counts": {"train": [3 * count for count in counts], "test": counts},
            "threshold": 0.5,
        }
        arrays = {"index": 7 * np.arange(n), "scores": scores, "target": target, "known": known}
        return write_run(
            tmp_path / name,
            sizes=(3 * n, n, n),
            labels=labels,
            settings={"decide": "half"} | more.pop("settings", {}),
            metrics=metrics | more.pop("metrics", {}),
            arrays=arrays | more.pop("arrays", {}),
            **more,
        )

    return make
