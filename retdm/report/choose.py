"""The best setting of a sweep, by validation and never by test, and the command that runs it over the splits."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from retdm.criteria import CRITERIA, LARGER_IS_BETTER
from retdm.decisions import rule_of
from retdm.errors import UserError
from retdm.registry import nearest
from retdm.report.groups import Group, flat, split_names
from retdm.report.results import by_task, heading, own_name
from retdm.report.tables import Table, mean_and_std
from retdm.training.schedule_rules import RULES

SPLITS = "range(30)"
# Other places and numbers of workers give the same results; the split is what the command runs over.
NOT_NAMED = {"data.split", "data.fold", "data.cache", "data.workers", "data.download"}
# Each may set the defaults of those behind it.
GROUPS = ("data", "augment", "backbone", "method", "schedule", "optimizer", "trainer")


def choice_tables(groups: Sequence[Group], criterion: str) -> list[Table]:
    """For each task and method its settings, best first, by the mean of a validation criterion over splits and folds.

    A method without such a value, because all its runs were trained on the validation split too, has no table.

    Raises:
        UserError: the runs have no such criterion.
    """
    known = {name for group in groups for name in group.criteria("validation")}
    if not known:
        raise UserError(
            "none of these runs has a validation split to choose by", "run the sweep with refit=false, or data.folds=5"
        )
    if criterion not in known:
        names = [name for name in CRITERIA if name in known]
        raise UserError(f"choose={criterion} is not a criterion of these runs", nearest(criterion, names))
    tables = []
    for title, members in by_task(groups).items():
        for method in dict.fromkeys(group.method for group in members):
            candidates = [
                group for group in members if group.method == method and criterion in group.criteria("validation")
            ]
            if not candidates:
                continue
            shared = sorted(set.intersection(*(set(group.split_folds) for group in candidates)))
            ordered = ranked(candidates, criterion, shared)
            rows = [
                [
                    own_name(group),
                    str(len(group.runs)),
                    mean_and_std(*group.mean_std("validation").get(criterion, (math.nan, math.nan))),
                ]
                for group in ordered
            ]
            columns = ["setting", "runs", f"validation {heading(criterion)}"]
            notes = [
                f"Chosen: {own_name(ordered[0])}",
                f"Over the splits: `{command(ordered[0])}`",
                *split_by_split(candidates, criterion, shared),
            ]
            if any(group.split_folds != shared for group in candidates):
                folds = candidates[0].folds
                kind = "splits" if folds is None else "folds"
                by = f"over {split_names(shared, folds)}, which all have" if shared else f"each over {kind} of its own"
                notes.insert(0, f"Not all were run on the same {kind}; compared {by}.")
            tables.append(Table(f"{title}: {method} by validation", columns, rows, {(0, 2)}, notes))
    return tables


def split_by_split(groups: Sequence[Group], criterion: str, pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Notes with commands that test on each split the setting that its own images chose, or how to get there.

    One split tests images by which another has chosen, so a setting that was chosen on some splits has a slight
    advantage when it is tested on all.

    Args:
        groups: the settings.
        criterion: of the validation split.
        pairs: split and fold of the runs that all of them have.
    """
    splits = sorted({split for split, _ in pairs})
    if len(splits) < 2:
        which = f"split {splits[0]}" if splits else "some splits"
        return [
            f"Chosen by images of {which}, most of which other splits test. So that each split chooses by its own, "
            f"sweep over 'data.split={SPLITS}' too."
        ]
    chosen: dict[str, tuple[Group, list[int]]] = {}
    for split in splits:
        best = ranked(groups, criterion, [pair for pair in pairs if pair[0] == split])[0]
        chosen.setdefault(best.name, (best, []))[1].append(split)
    return [
        f"Split {','.join(map(str, of))} by its own images: {own_name(group)} `{command(group, of)}`"
        for group, of in chosen.values()
    ]


def ranked(groups: Sequence[Group], criterion: str, pairs: Sequence[tuple[int, int]] = ()) -> list[Group]:
    """Best validation mean first, last those where it is undefined.

    Args:
        pairs: of split and fold, over which the mean goes; none takes each group's own.
    """

    def place(group: Group) -> float:
        values = group.criteria("validation").get(criterion, np.full(len(group.runs), np.nan))
        mean = float(values[[pair in pairs or not pairs for pair in group.split_folds]].mean())
        return math.inf if math.isnan(mean) else -mean if criterion in LARGER_IS_BETTER else mean

    return sorted(groups, key=place)


def command(group: Group, splits: Sequence[int] = ()) -> str:
    """``retdm train -m …`` that runs a group's settings over thirty splits or those given, or why there is none.

    It has no folds, and where the method can, it trains on the validation split too.
    """
    from retdm.runs.errors import as_user_error  # brings Hydra

    try:
        words = overrides(final(group))
    except Exception as error:
        if (reported := as_user_error(error)) is None:
            raise
        return f"not any more: {reported.message}"
    return " ".join(
        ["retdm train -m", *map(shlex.quote, words), f"'data.split={','.join(map(str, splits)) or SPLITS}'"]
    )


def final(group: Group) -> dict[str, Any]:
    """A group's settings without folds, and with ``refit`` where no stage ends by the validation split.

    A network that decides by a threshold then has no validation split to choose one on: it takes the mean of those that
    the group's runs chose; one that has a threshold a label is trained without ``refit``. A fitted method chooses its
    own before it is fitted on that split too.
    """
    settings = group.runs[0].config
    stages = settings["method"].get("stages", [])
    refit = not any(rule.needs_validation for stage in stages if (rule := RULES.get(stage.get("rule"))))
    decide = rule_of(settings["method"].get("decide", "half"))
    if stages and decide.per_label:
        refit = False
    found = {**settings, "data": {**settings["data"], "folds": None}, "refit": refit}
    thresholds = [
        run.metrics["threshold"] for run in group.runs if run.metrics and run.metrics.get("threshold") is not None
    ]
    if refit and stages and settings["method"].get("decide") == "validation" and thresholds:
        found["threshold"] = round(float(np.mean(thresholds)), 4)
    return found


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """Words to add to ``retdm train`` for the settings of a run: choices first, then each key that they do not set.

    Raises:
        UserError: a choice does not exist any more.
    """
    from retdm.settings.compose import compose_settings  # brings Hydra, and its call PyTorch

    choices = settings["choices"]
    words = [f"experiment={choices['experiment']}"] if choices.get("experiment") else []
    composed = compose_settings(words)
    for group in GROUPS:
        if group in choices and choices[group] != composed.choices.get(group):
            words.append(f"{group}={choices[group]}")
            composed = compose_settings(words)  # the others may have other defaults now
    given = _named(composed.as_dict())
    if composed.classes["data"].user_settings and "data.image_size" in given:
        given["data.image_size"] = None  # the number of images chooses it
    return words + differences(_named(settings), given)


def _named(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that change results, and where the run lies, flat."""
    kept = {key: settings[key] for key in ("data", "backbone", "method", "seed")}
    kept |= {key: settings.get(key, {}) for key in ("augment", "optimizer")}
    kept["schedule"] = {key: settings[key] for key in ("start", "average", "ema") if key in settings}
    if settings.get("run") is None:
        kept["outputs"] = settings["outputs"]  # where the splits lie that were run already
    kept["trainer"] = {"precision": settings["trainer"]["precision"]}
    kept["refit"] = settings.get("refit", False)
    if settings.get("threshold") is not None:
        kept["threshold"] = settings["threshold"]
    return {key: value for key, value in flat(kept).items() if key not in NOT_NAMED}


def differences(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Hydra's words that turn the settings ``given`` into those ``wanted``."""
    words = []
    for key, value in wanted.items():
        if key not in given:
            words.append(f"+{key}={hydra_value(value)}")
        elif value != given[key]:
            sign = "++" if key.startswith("schedule.") and key.count(".") == 1 else ""  # some files leave these out
            words.append(f"{sign}{key}={hydra_value(value)}")
    # A setting that is newer than the run keeps its default; an entry of a mapping is taken out.
    return words + [f"~{key}" for key in given if key not in wanted and key.count(".") > 1]


def hydra_value(value: Any) -> str:
    """A value as Hydra's command line reads it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(hydra_value, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{hydra_value(item)}" for key, item in value.items()) + "}"
    text = str(value)
    if isinstance(value, str) and not _stays_text(text):
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return text


def _stays_text(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z_/][\w./-]*", text) is not None and text.lower() not in (
        "null",
        "true",
        "false",
        "nan",
        "inf",
    )
