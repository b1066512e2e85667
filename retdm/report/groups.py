"""Groups of runs that differ in their split or fold alone, and the settings in which groups differ."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retdm.criteria import CRITERIA
from retdm.report.read import Run
from retdm.settings import plain

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Finished runs that differ in their split or fold alone.

    Args:
        name: data, method and backbone, then the settings that tell it from other groups of the same three.
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
        """The split of each run; a split with several folds as often as it has runs."""
        return [run.split for run in self.runs]

    @property
    def split_folds(self) -> list[tuple[int, int]]:
        """Split and fold of each run."""
        return [run.split_fold for run in self.runs]

    @property
    def folds(self) -> int | None:
        """``data.folds`` of its runs."""
        return self.runs[0].folds

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that change results, which all its runs share, flat (`settings_of`)."""
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
    """Mean over splits; minus infinity where it is unknown, so that no such group is the best."""
    values = group.criteria("validation").get("mAP", np.array([]))
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("-inf")


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Finished runs by everything that changes results but split and fold, sorted by name.

    Of two runs of the same settings, split and fold the first is taken.
    """
    alike: dict[str, dict[tuple[int, int], Run]] = defaultdict(dict)
    for run in runs:
        if run.state == "finished":
            alike[json.dumps(settings_of(run), sort_keys=True, default=str)].setdefault(run.split_fold, run)
    same_name: dict[tuple[str, str, str], list[list[Run]]] = defaultdict(list)
    for by_pair in alike.values():
        members = [by_pair[pair] for pair in sorted(by_pair)]
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
    """The settings that change results, but split and fold: ``{"data.image_size": 224, "schedule.joint.lr": …}``.

    A stage's rate, rule and lengths go by the keys of the command line, ``schedule.<stage>.<key>``.
    """
    found = flat(run.config["identity"])
    found.pop("data.split", None)
    found.pop("data.fold", None)
    if found.get("data.folds") is None:  # as in runs that are older than folds
        found.pop("data.folds", None)
    return found


def split_names(pairs: Iterable[tuple[int, int]], folds: int | None) -> str:
    """``split 0``, ``splits 0, 1``; where there are folds ``split 0 (folds 0, 1), split 1 (fold 3)``."""
    by_split: dict[int, list[int]] = defaultdict(list)
    for split, fold in pairs:
        by_split[split].append(fold)
    if folds is None:
        return _numbered("split", list(by_split))
    return ", ".join(f"split {split} ({_numbered('fold', found)})" for split, found in by_split.items())


def _numbered(thing: str, numbers: Sequence[int]) -> str:
    return f"{thing}{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by dotted keys; stages by ``schedule.<name>``, empty mappings nowhere."""
    found: dict[str, Any] = {}
    for path, value in plain.flat(content):
        if path == "method.stages":
            for stage in value:
                for name, item in stage.items():
                    own = name in ("name", "train", "losses")  # the method's; the rest comes from a schedule
                    found[f"{path if own else 'schedule'}.{stage['name']}.{name}"] = item
        elif not isinstance(value, Mapping):
            found[path] = value
    return found


def differing(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each the keys whose values are not the same in all; None for a key that it does not have."""
    keys = sorted({key for one in settings for key in one})
    keys = [key for key in keys if any(one.get(key) != settings[0].get(key) for one in settings)]
    return [{key: one.get(key) for key in keys} for one in settings]


def short(varied: Mapping[str, Any]) -> list[str]:
    """``["metric=0.3", "train_size=60"]``: the last word of each key, or as many as tell it from others."""
    words = {key: key.split(".") for key in varied}
    last = [word[-1] for word in words.values()]
    names = {key: word[-1] if last.count(word[-1]) == 1 else ".".join(word[-2:]) for key, word in words.items()}
    return [f"{names[key]}={_in_short(value)}" for key, value in varied.items()]


def _in_short(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 24 else f"{text[:8]}…{text[-8:]}"
