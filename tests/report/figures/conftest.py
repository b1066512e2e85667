from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_runs import write_run

LABELS = ("sea", "<b>$x", "tree$")
CRITERIA = {"mAP": 0.8, "O-F1": 0.7, "average_precision": 0.9, "coverage_normalised": 0.2, "hamming_loss": 0.1}
CRITERIA |= {"one_error": 0.15, "ranking_loss": 0.05}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """``make("retdm", 0, weights={"metric": 0.1}, test={"mAP": 0.9})``: a finished run's folder in ``runs``."""

    def made(
        method: str,
        split: int,
        *,
        data: str = "scene",
        characteristics: Mapping[str, float] | None = None,
        observe: str | None = None,
        images: int = 40,
        weights: Mapping[str, Any] | None = None,
        test: Mapping[str, float | None] | None = None,
        validation: Mapping[str, float | None] | None = None,
        ap: tuple[float | None, ...] = (0.9, 0.8, None),
        decide: str = "half",
        stages: tuple[tuple[str, int], ...] = (),
        arrays: Mapping[str, np.ndarray] | None = None,
        **more: Any,
    ) -> Path:
        levels = {"alike": 0.0, "label_noise": 0.0} | dict(characteristics or {})
        folder = write_run(
            tmp_path / "runs" / f"{len(list(tmp_path.glob('runs/*'))):03d}",
            split,
            data=data,
            method=method,
            backbone="net",
            settings={"weights": dict(weights or {}), "decide": decide},
            data_settings={"observe": observe} | ({} if characteristics is None else {"characteristics": levels}),
            test=CRITERIA | dict(test or {}),
            validation=CRITERIA | dict(validation or {}),
            sizes=(images, 0, 4),
            labels=LABELS,
            metrics={
                "per_label": {
                    name: {"AP": value, "positives": 2 + split} for name, value in zip(LABELS, ap, strict=True)
                },
                "threshold": 0.3,
                "stages": [{"stage": stage, "epochs": epochs} for stage, epochs in stages],
            },
            arrays=arrays and {"index": np.arange(len(arrays["scores"])), **arrays},
            **more,
        )
        if arrays is None:
            (folder / "predictions.npz").unlink()
        return folder

    return made
