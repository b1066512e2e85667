"""Run folders, read and checked once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retdm.decisions import rule_of
from retdm.decisions.calibration import check_calibration
from retdm.errors import UserError
from retdm.runs.folder.paths import RunFolder, read_config, read_json, read_metrics, shown
from retdm.settings.run_settings import network_of
from retdm.settings.types import fits


@dataclass(frozen=True)
class Run:
    """One run folder.

    Args:
        folder: where it lies.
        config: its ``config.yaml``.
        metrics: its ``metrics.json``; None where it is not finished.
        error: its ``error.txt``, where there is one.
        damage: why it cannot be in a table; its config and metrics are not to be read then.
    """

    folder: Path
    config: dict[str, Any]
    metrics: dict[str, Any] | None = None
    error: str | None = None
    damage: str | None = None

    @property
    def state(self) -> str:
        """``finished``, ``failed``, ``unfinished`` or ``damaged``."""
        if self.damage is not None:
            return "damaged"
        if self.metrics is not None:
            return "finished"
        return "unfinished" if self.error is None else "failed"

    @property
    def data(self) -> str:
        return str(self.config["choices"]["data"])

    @property
    def method(self) -> str:
        return str(self.config["choices"]["method"])

    @property
    def backbone(self) -> str:
        return network_of(self.config["choices"], self.config.get("backbone"))

    @property
    def split(self) -> int:
        return int(self.config["data"].get("split", 0))

    @property
    def folds(self) -> int | None:
        """``data.folds``; None where the validation split is no fold."""
        folds = self.config["data"].get("folds")
        return None if folds is None else int(folds)

    @property
    def split_fold(self) -> tuple[int, int]:
        """``data.split`` and ``data.fold``, which decide on the images that train, choose and test."""
        return self.split, int(self.config["data"].get("fold", 0))

    @property
    def train_size(self) -> int | None:
        """``data.train_size``; None where all training images were used."""
        size = self.config["data"].get("train_size")
        return None if size is None else int(size)

    @property
    def minutes(self) -> float | None:
        """Training time."""
        return None if self.metrics is None else float(self.metrics["seconds"]) / 60

    @property
    def labels(self) -> list[str]:
        """Names of the L labels; empty where the run is not finished."""
        return [] if self.metrics is None else list(self.metrics["per_label"])

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images of ``train``, ``validation`` and ``test``; empty where no split was written."""
        rows = read_json(RunFolder(self.folder).split) or {}
        return {split: len(rows[split]) for split in ("train", "validation", "test") if split in rows}

    def predictions(self) -> dict[str, NDArray[Any]]:
        """``index`` (n,), ``scores``, ``target``, ``known`` (n, L) of the test split, and ``labels`` (L,).

        Raises:
            UserError: there are none, or they cannot be read.
        """
        path = RunFolder(self.folder).predictions
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except Exception as error:  # what NumPy and zipfile raise depends on the byte at which they give up
            reason = str(error) or type(error).__name__
            raise UserError(f"{shown(path)} cannot be read: {reason}", "run it anew with overwrite=true") from error


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """Every run in or under the folders, in the order of their paths.

    Raises:
        UserError: a folder is not there, or none holds a run.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}", "name run folders, or a folder above them, as outputs")
    configs = {path.resolve(): path for folder in folders for path in sorted(folder.rglob("config.yaml"))}
    runs = [run for path in sorted(configs.values()) if (run := read_run(path.parent)) is not None]
    if not runs:
        raise UserError(
            f"there is no run in {', '.join(map(str, folders))}",
            "a run's folder holds the config.yaml that training wrote",
        )
    return runs


def is_run(folder: Path) -> bool:
    """The folder holds a run itself, finished or not."""
    try:
        return bool(read_config(RunFolder(folder)))
    except UserError:
        return False


def read_run(path: Path) -> Run | None:
    """The run in a folder; None where its ``config.yaml`` is something else's."""
    folder = RunFolder(path)
    try:
        config = read_config(folder)
    except UserError as error:
        return Run(path, {}, damage=error.message) if folder.artifacts() else None
    try:
        _check_config(folder, config)
        metrics = read_metrics(folder)
        said = folder.error.read_text(errors="replace").strip() if folder.error.exists() else None
        run = Run(path, config, metrics, said)
        _check_files(folder, run)
    except UserError as error:
        return Run(path, {}, damage=error.message)
    except OSError as error:
        return Run(path, {}, damage=f"{error.filename}: {error.strerror}")
    return run


# Kinds of NumPy types of what is predicted.
PREDICTED = {"index": "iu", "scores": "f", "target": "biuf", "known": "biuf"}
SETTINGS = {"split": int | None, "fold": int | None, "folds": int | None, "train_size": int | None}


def _check_config(folder: RunFolder, config: dict[str, Any]) -> None:
    """Raise ``UserError`` where a config does not have the settings that tables and figures are made of."""
    groups = ("choices", "data", "method", "identity")
    sound = (
        all(isinstance(config.get(key), dict) for key in groups)
        and all(isinstance(config["choices"].get(key), str) for key in ("data", "method", "backbone"))
        and all(fits(config["data"].get(key), kind) for key, kind in SETTINGS.items())
        and all(
            isinstance(group, dict) and _stages_are_named(group.get("stages", []))
            for group in (config["method"], config["identity"].get("method"))
        )
        and isinstance(config.get("provenance", {}), dict)
    )
    if not sound:
        raise UserError(f"{shown(folder.config)} is not a run's config.yaml")


def _stages_are_named(stages: Any) -> bool:
    return isinstance(stages, list) and all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in stages
    )


def _check_files(folder: RunFolder, run: Run) -> None:
    """Raise ``UserError`` where a file of a run is not what a run writes."""
    for file, sound in ((folder.split, _is_split), (folder.test, _is_evaluation)):
        if file.exists() and not sound(read_json(file)):
            raise UserError(f"{shown(file)} is not what a run writes")
    if run.metrics is None:
        return
    images, threshold, of_labels = (run.metrics.get(key) for key in ("images", "threshold", "per_label"))
    decision = run.metrics.get("decision")  # none in runs of older versions
    typed = decision is None or (fits(decision, dict[str, Any]) and _is_decision(decision, len(run.labels)))
    typed &= fits(images, int) and fits(threshold, float | None) and fits(of_labels, dict[str, dict[str, Any]])
    if not typed or not _is_evaluation(run.metrics) or not run.labels:
        raise UserError(f"{shown(folder.metrics)} is not what a finished run wrote")
    if folder.predictions.exists():
        rows = run.predictions()
        shapes = {name: array.shape for name, array in rows.items()}
        n = shapes.get("index", (0,))[:1]
        cells = (*n, len(run.labels))
        expected = {"index": n, "labels": cells[1:], "scores": cells, "target": cells, "known": cells}
        whole = {name: shapes.get(name) for name in expected} == expected and all(
            rows[name].dtype.kind in kinds for name, kinds in PREDICTED.items()
        )
        if not whole or rows["labels"].tolist() != run.labels:
            raise UserError(f"{shown(folder.predictions)} is not what a finished run wrote")


def _is_decision(decision: dict[str, Any], labels: int) -> bool:
    try:
        rule, threshold = rule_of(decision["rule"]), decision["threshold"]
        check_calibration(decision.get("calibration"), labels)
        return (threshold is None and rule.chosen_on is None) or bool(rule.check(threshold, labels).size)
    except (KeyError, TypeError, ValueError, UserError):
        return False


def _is_split(content: Any) -> bool:
    return isinstance(content, dict) and all(
        isinstance(content.get(split, []), list) for split in ("train", "validation", "test")
    )


def _is_evaluation(content: Any) -> bool:
    if not isinstance(content, dict):
        return False
    test, validation = content.get("test"), content.get("validation")
    return fits(test, dict[str, float | None]) and fits(validation, dict[str, float | None] | None)
