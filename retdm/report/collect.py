"""What run folders hold, read once: runs, and groups of runs that differ in their split or fold alone."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retdm.criteria import CRITERIA
from retdm.errors import UserError
from retdm.runs.folder import RunFolder, read_config, read_json, read_metrics, shown
from retdm.runs.setting_types import fits
from retdm.runs.settings import network_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """One run folder.

    Args:
        folder: where it lies.
        config: its ``config.yaml``.
        metrics: its ``metrics.json``; None where it is not finished.
        error: its ``error.txt``, if there is one.
        damage: why it can be in no table whatever else it holds; its config and metrics are not to be read then.
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
        """``data.folds``; None where the validation part is no fold."""
        folds = self.config["data"].get("folds")
        return None if folds is None else int(folds)

    @property
    def cut(self) -> tuple[int, int]:
        """``data.split`` and ``data.fold``: which images train, choose and test."""
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
        """Images by part: ``train``, ``validation``, ``test``; empty where the split was never written."""
        parts = read_json(RunFolder(self.folder).split) or {}
        return {part: len(parts[part]) for part in ("train", "validation", "test") if part in parts}

    def predictions(self) -> dict[str, NDArray[Any]]:
        """``index`` (n,), ``scores``, ``target``, ``known`` (n, L) of the test part, and ``labels`` (L,).

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


@dataclass(frozen=True)
class Group:
    """Finished runs that differ in their split or fold alone.

    Args:
        name: data, method and backbone, then what tells the group from others of the same three.
        runs: sorted by split and fold, one of each.
        varied: the settings in which groups of the same data, method and backbone differ, by their full keys.
    """

    name: str
    runs: list[Run]
    varied: dict[str, Any]

    @property
    def data(self) -> str:
        return self.runs[0].data

    @property
    def method(self) -> str:
        return self.runs[0].method

    @property
    def backbone(self) -> str:
        return self.runs[0].backbone

    @property
    def splits(self) -> list[int]:
        """Of each run; one with several folds as often as it has runs."""
        return [run.split for run in self.runs]

    @property
    def cuts(self) -> list[tuple[int, int]]:
        """Split and fold of each run."""
        return [run.cut for run in self.runs]

    @property
    def folds(self) -> int | None:
        """``data.folds`` of its runs."""
        return self.runs[0].folds

    @property
    def settings(self) -> dict[str, Any]:
        """What its runs share and what changes their results, flat (`settings_of`)."""
        return settings_of(self.runs[0])

    def criteria(self, part: str = "test") -> dict[str, Floats]:
        """Values (runs,) by criterion; NaN where undefined.

        Args:
            part: ``test``, ``test_validation_threshold`` or ``validation``.
        """
        rows = [run.metrics[part] or {} for run in self.runs if run.metrics is not None]  # null after refit
        names = dict.fromkeys(
            [*(name for name in CRITERIA if name in rows[0]), *(name for row in rows for name in row)]
        )
        return {
            name: np.array([np.nan if row.get(name) is None else row[name] for row in rows], np.float64)
            for name in names
        }

    def mean_std(self, part: str = "test") -> dict[str, tuple[float, float]]:
        """(mean, sample standard deviation) over runs by criterion.

        NaN where the criterion is undefined in any run, or for the deviation of a single run.
        """
        return {name: mean_std(values) for name, values in self.criteria(part).items()}


def mean_std(values: Floats) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1) of (n,) values; the deviation of one value is NaN."""
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def validation_map(group: Group) -> float:
    """Mean over splits; minus infinity where it is unknown, so that it is no best."""
    values = group.criteria("validation").get("mAP", np.array([]))
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("-inf")


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """Every run in or under the folders, in the order of their paths.

    Raises:
        UserError: a folder is not there, or none holds a run.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}", "name run folders, or a folder above them, as outputs")
    configs = {path.resolve(): path for folder in folders for path in sorted(folder.rglob("config.yaml"))}
    runs = [run for path in sorted(configs.values()) if (run := _read_run(path.parent)) is not None]
    if not runs:
        raise UserError(
            f"there is no run in {', '.join(map(str, folders))}",
            "a run's folder holds the config.yaml that train.py wrote",
        )
    return runs


def _read_run(path: Path) -> Run | None:
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


SETTINGS = {"split": int | None, "fold": int | None, "folds": int | None, "train_size": int | None}


def _check_config(folder: RunFolder, config: dict[str, Any]) -> None:
    """Raise ``UserError`` where a config lacks what tables and figures are made of."""
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
    for file, sound in ((folder.split, _is_split), (folder.test, _is_judged)):
        if file.exists() and not sound(read_json(file)):
            raise UserError(f"{shown(file)} is not what a run writes")
    if run.metrics is None:
        return
    images = run.metrics.get("images")
    if not _is_judged(run.metrics) or not run.labels or not fits(images, int):
        raise UserError(f"{shown(folder.metrics)} is not what a finished run wrote")
    if folder.predictions.exists():
        rows = run.predictions()
        shapes = {name: array.shape for name, array in rows.items()}
        n = shapes.get("index", (0,))[:1]
        cells = (*n, len(run.labels))
        expected = {"index": n, "labels": cells[1:], "scores": cells, "target": cells, "known": cells}
        if {name: shapes.get(name) for name in expected} != expected or rows["labels"].tolist() != run.labels:
            raise UserError(f"{shown(folder.predictions)} is not what a finished run wrote")


def _is_split(content: Any) -> bool:
    return isinstance(content, dict) and all(
        isinstance(content.get(part, []), list) for part in ("train", "validation", "test")
    )


def _is_judged(content: Any) -> bool:
    parts = [content.get(part) for part in ("test", "validation")] if isinstance(content, dict) else [1]
    return all(part is None or fits(part, dict[str, float | None]) for part in parts) and isinstance(parts[0], dict)


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Finished runs by everything that changes results but split and fold, sorted by name.

    Of two runs of the same settings, split and fold the first is taken.
    """
    alike: dict[str, dict[tuple[int, int], Run]] = defaultdict(dict)
    for run in runs:
        if run.state == "finished":
            alike[json.dumps(settings_of(run), sort_keys=True, default=str)].setdefault(run.cut, run)
    same_name: dict[tuple[str, str, str], list[list[Run]]] = defaultdict(list)
    for by_cut in alike.values():
        members = [by_cut[cut] for cut in sorted(by_cut)]
        same_name[members[0].data, members[0].method, members[0].backbone].append(members)
    groups = []
    for name, several in same_name.items():
        settings = [settings_of(members[0]) for members in several]
        for members, varied in zip(several, differing(settings), strict=True):
            groups.append(Group(" · ".join([*name, *short(varied)]), members, varied))
    return sorted(groups, key=lambda group: (group.data, group.method, group.backbone, _in_order(group.varied)))


def _in_order(varied: Mapping[str, Any]) -> list[tuple[str, bool, float, str]]:
    """A key for sorting in which numbers stand by size, not by their digits."""
    return [
        (key, not isinstance(value, int | float), float(value) if isinstance(value, int | float) else 0.0, str(value))
        for key, value in varied.items()
    ]


def settings_of(run: Run) -> dict[str, Any]:
    """What changes a run's results but split and fold, flat: ``{"data.image_size": 224, "schedule.joint.lr": …}``.

    A stage's rate, rule and lengths go by the keys of the command line, ``schedule.<stage>.<key>``.
    """
    found = flat(run.config["identity"])
    found.pop("data.split", None)
    found.pop("data.fold", None)
    if found.get("data.folds") is None:  # as in runs that are older than folds
        found.pop("data.folds", None)
    return found


def cut_names(cuts: Iterable[tuple[int, int]], folds: int | None) -> str:
    """``split 0``, ``splits 0, 1``; where there are folds ``split 0 (folds 0, 1), split 1 (fold 3)``."""
    by_split: dict[int, list[int]] = defaultdict(list)
    for split, fold in cuts:
        by_split[split].append(fold)
    if folds is None:
        return _numbered("split", list(by_split))
    return ", ".join(f"split {split} ({_numbered('fold', found)})" for split, found in by_split.items())


def _numbered(thing: str, numbers: Sequence[int]) -> str:
    return f"{thing}{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted keys; stages by ``schedule.<name>``, empty mappings nowhere."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{path}.")
        elif path == "method.stages":
            for stage in value:
                for name, item in stage.items():
                    own = name in ("name", "train", "losses")  # the method's; the rest comes from a schedule
                    found[f"{path if own else 'schedule'}.{stage['name']}.{name}"] = item
        else:
            found[path] = value
    return found


def differing(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each the keys whose values are not the same in all; None for a key that it lacks."""
    keys = sorted({key for one in settings for key in one})
    keys = [key for key in keys if any(one.get(key) != settings[0].get(key) for one in settings)]
    return [{key: one.get(key) for key in keys} for one in settings]


def short(varied: Mapping[str, Any]) -> list[str]:
    """``["metric=0.3", "train_size=60"]``: the last word of each key, or as many as tell it from the others."""
    words = {key: key.split(".") for key in varied}
    last = [word[-1] for word in words.values()]
    names = {key: word[-1] if last.count(word[-1]) == 1 else ".".join(word[-2:]) for key, word in words.items()}
    return [f"{names[key]}={_in_short(value)}" for key, value in varied.items()]


def _in_short(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 24 else f"{text[:8]}…{text[-8:]}"
