"""Run folders as train.py leaves them, with criteria of one's choice and no training."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from retdm.criteria import CRITERIA
from retdm.report.groups import Group, group_runs
from retdm.report.read import Run, find_runs
from retdm.training.history import append_epoch

Make = Callable[..., Path]  # of the fixture ``make_run``
LABELS = ["cat", "dog", "owl"]


def write_run(
    folder: Path,
    split: int = 0,
    fold: int | None = None,
    *,
    data: str = "scene",
    method: str = "bce",
    backbone: str = "vgg16",
    test: dict[str, float | None] | None = None,
    validation: dict[str, float | None] | None = None,
    settings: dict[str, Any] | None = None,
    train_size: int | None = None,
    refit: bool = False,
    test_fraction: float = 0.2,
    finished: bool = True,
    error: str | None = None,
    sizes: tuple[int, int, int] = (72, 8, 20),
    labels: Sequence[str] = LABELS,
    data_settings: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """One run, of five folds where it has a ``fold``.

    ``test`` and ``validation`` give criteria other values than .5, ``settings`` are the method's and ``data_settings``
    more of the data's; after ``refit`` there is no validation. ``metrics`` and ``arrays`` take the place of what
    metrics.json and predictions.npz have by themselves.
    """
    folder.mkdir(parents=True)
    own_data: dict[str, Any] = {"split": split, "test_fraction": test_fraction, "train_size": train_size}
    own_data |= dict(data_settings or {})
    if fold is not None:
        own_data |= {"folds": 5, "fold": fold}
    own_method = {
        "_target_": f"retdm.methods.{method}",
        "stages": [{"name": "joint", "train": ["encoder"], "losses": ["metric"], "lr": 0.1}],
        **(settings or {}),
    }
    config = {
        "data": {"root": "/somewhere", **own_data},
        "method": own_method,
        "choices": {"data": data, "method": method, "backbone": backbone},
        "identity": {
            "data": {"name": data, **own_data},
            "backbone": {},
            "method": own_method,
            "seed": 0,
            "refit": refit,
        },
        "provenance": {"command": f"retdm train data.split={split}", "machine": "box", "packages": {"torch": "2"}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    parts = {part: list(range(size)) for part, size in zip(("train", "validation", "test"), sizes, strict=True)}
    (folder / "split.json").write_text(json.dumps(parts))
    if error is not None:
        (folder / "error.txt").write_text(error)
    if finished:
        values = dict.fromkeys(CRITERIA, 0.5)
        report = {
            "test": {**values, **(test or {})},
            "test_validation_threshold": {**values, **(test or {})},
            "validation": None if refit else {**values, **(validation or {})},
            "per_label": {label: {} for label in labels},
            "seconds": 90.0,
            "images": sum(sizes),
            **(metrics or {}),
        }
        (folder / "metrics.json").write_text(json.dumps(report))
        target = np.zeros((sizes[2], 3), np.float32)
        target[:, 0] = 1
        target[::2, 1] = 1
        rows = {"index": np.arange(sizes[2]), "scores": target, "target": target, "known": target > -1}
        np.savez(folder / "predictions.npz", **(rows | dict(arrays or {})), labels=np.array(labels))
    return folder


def read(folder: Path) -> tuple[list[Run], list[Group]]:
    """Runs and groups below a folder."""
    runs = find_runs([folder])
    return runs, group_runs(runs)


def write_history(folder: Path, stages: list[str], **values: list[float | None]) -> None:
    """An epoch for each stage named; ``values`` by part and name, as ``train_loss``."""
    for epoch, stage in enumerate(stages, 1):
        line: dict[str, Any] = {"epoch": epoch, "stage": stage, "train": {}, "validation": {}}
        for key, of_epochs in values.items():
            part, _, name = key.partition("_")
            line[part][name] = of_epochs[epoch - 1]
        append_epoch(folder / "history.jsonl", line)
