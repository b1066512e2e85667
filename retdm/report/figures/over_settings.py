"""Figures of criteria over training images, settings and characteristics."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from retdm.report.figures.draw_over_settings import (
    draw_characteristics,
    draw_heat_map,
    draw_learning_curves,
    draw_setting_curve,
)
from retdm.report.figures.shown_groups import Drawn, Earlier, names_of, splits_or_folds, styled
from retdm.report.figures.style import styles_of
from retdm.report.groups import Floats, Group, differing, short

CURVES = ("average_precision", "coverage_normalised", "hamming_loss", "one_error", "ranking_loss")
TUNED = ("mAP", "O-F1")  # on the validation split: a setting is not chosen on the test split
HARD = ("mAP", "instance_average_precision")  # what characteristics may spoil
WEAK = ("mAP", "O-F1")
SIZE = "data.train_size"
OBSERVE = "data.observe"
SHARE = "share:"  # of the known cells, as data.observe has it
DIFFICULTIES = "data.characteristics."
IN_WORDS = {  # titles of the characteristics' panels
    "witness_rate": "share that has the label",
    "co_occurrence": "a context instance comes along",
    "several_needed": "two kinds are needed",
    "alike": "instances share their light",
    "place_matters": "only the upper half counts",
    "label_noise": "wrong labels to learn from",
    "distractors": "look-alikes of a label",
}


def learning_curves(groups: Sequence[Group], methods: Sequence[str], earlier: Earlier) -> Iterator[Drawn]:
    """The five criteria of Dong et al.'s Fig. 3 against the number of training images."""
    names = names_of(groups, without=[SIZE])
    curves: dict[str, dict[float, dict[str, Floats]]] = defaultdict(dict)
    for group, name in zip(groups, names, strict=True):
        if (size := _training_images(group)) is not None:
            curves[name][size] = group.criteria()
    curves = {name: points for name, points in curves.items() if len(points) > 1}
    if not curves:
        return
    criteria = [one for one in CURVES if all(one in point for points in curves.values() for point in points.values())]
    title = f"Learning curves on {groups[0].data}, test split"
    caption = "Mean over splits, bars one standard deviation; arrows point to better."
    known = {criterion: earlier[criterion] for criterion in criteria if criterion in earlier}
    if known:
        caption += " Dashed: the best earlier method, with all training images."
    styles = styled(groups, names, methods)
    yield Drawn("learning_curves", title, caption, draw_learning_curves(title, curves, styles, criteria, known))


def _training_images(group: Group) -> float | None:
    # With refit=true a run is trained on both.
    parts = [("train", "validation") if run.config.get("refit") else ("train",) for run in group.runs]
    sizes = [
        sum(run.sizes[part] for part in of) if run.sizes else run.train_size
        for run, of in zip(group.runs, parts, strict=True)
    ]
    known = [size for size in sizes if size is not None]
    return round(sum(known) / len(known)) if known else None


def weak_labels(groups: Sequence[Group]) -> Iterator[Drawn]:
    """Criteria against the share of the training labels that is known, as ``data.observe=share:<number>`` leaves it."""
    names = names_of(groups, without=[OBSERVE])
    curves: dict[str, dict[float, dict[str, Floats]]] = defaultdict(dict)
    for group, name in zip(groups, names, strict=True):
        if OBSERVE in group.varied and (observed := group.varied[OBSERVE] or f"{SHARE}1").startswith(SHARE):
            curves[name][float(observed.removeprefix(SHARE))] = group.criteria()
    curves = {name: points for name, points in curves.items() if len(points) > 1}
    if curves:
        title = f"Training labels that are known on {groups[0].data}, test split"
        caption = f"Mean over {splits_or_folds(groups)}, bars one standard deviation; at 1 all are known."
        styles = styles_of([(name, name) for name in curves], list(curves))  # losses of one method differ in colour too
        setting = "share of the training labels that is known"
        figure = draw_setting_curve(title, setting, curves, styles, WEAK, powers=False)
        yield Drawn("weak_labels", title, caption, figure)


def settings(groups: Sequence[Group], methods: Sequence[str]) -> Iterator[Drawn]:
    """RETDM's Fig. 5: a heat map of two numeric settings, or a curve over one, on the validation split.

    Runs that differ in more than numbers, as with ``refit``, are not of one figure.
    """
    alike: dict[tuple[str, ...], list[Group]] = defaultdict(list)
    for group in groups:
        if "mAP" in group.criteria("validation"):
            others = {key: value for key, value in group.varied.items() if not _axis(key, value)}
            alike[group.method, group.backbone, *short(others)].append(group)
    curves: dict[str, list[Group]] = defaultdict(list)
    data = groups[0].data
    for names, members in alike.items():
        keys = list(differing([group.varied for group in members])[0])
        if SIZE in keys or "seed" in keys:
            continue
        if len(keys) == 1 and len(members) > 2:
            curves[keys[0]] += members
        elif len(keys) == 2:
            places, cells = _grid(members, keys)
            if 2 * len(members) > cells[TUNED[0]].size:  # a line of pairs is no grid
                title = f"{' · '.join(names)} on {data}, validation split"
                over = splits_or_folds(members)
                caption = f"Mean over {over} against {keys[0]} and {keys[1]}; framed: the best; grey: no run."
                yield Drawn("settings", title, caption, draw_heat_map(title, (keys[0], keys[1]), places, cells))
    for key, members in curves.items():
        lines = names_of(members, without=[key])
        points: dict[str, dict[float, dict[str, Floats]]] = defaultdict(dict)
        for group, name in zip(members, lines, strict=True):
            points[name][group.varied[key]] = group.criteria("validation")
        title = f"{key} on {data}, validation split"
        caption = f"Mean over {splits_or_folds(members)}, bars one standard deviation."
        styles = styled(members, lines, methods)
        yield Drawn("settings", title, caption, draw_setting_curve(title, key, points, styles, TUNED))


def characteristics(groups: Sequence[Group], methods: Sequence[str]) -> Iterator[Drawn]:
    """How methods bear each difficulty of drawn bags where the others are as in most runs."""
    levels = [{key: value for key, value in g.varied.items() if key.startswith(DIFFICULTIES)} for g in groups]
    keys = sorted({key for level in levels for key in level})
    usual = {key: Counter(level[key] for level in levels).most_common(1)[0][0] for key in keys}
    names = names_of(groups, without=keys)
    styles = styled(groups, names, methods)
    found = [group.criteria() for group in groups]
    for criterion in HARD:
        panels: dict[str, dict[str, dict[float, dict[str, Floats]]]] = {}
        for key in keys:
            curves: dict[str, dict[float, dict[str, Floats]]] = defaultdict(dict)
            for values, level, name in zip(found, levels, names, strict=True):
                alone = all(level[other] == usual[other] for other in keys if other != key)
                if alone and criterion in values:
                    curves[name][level[key]] = values
            name = key.removeprefix(DIFFICULTIES)
            panels[IN_WORDS.get(name, name)] = {n: points for n, points in curves.items() if len(points) > 1}
        panels = {key: curves for key, curves in panels.items() if curves}
        if panels:
            title = f"What {criterion.replace('_', ' ')} suffers from on {groups[0].data}, test split"
            caption = f"Mean over {splits_or_folds(groups)}, bars one standard deviation; one characteristic at a time."
            figure = draw_characteristics(title, panels, styles, criterion)
            yield Drawn(f"difficulties_{criterion}", title, caption, figure)


def _axis(key: str, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and key != "data.folds"


def _grid(groups: Sequence[Group], keys: Sequence[str]) -> tuple[tuple[list[float], list[float]], dict[str, Floats]]:
    """Values along the first and the second key, and of each criterion the means over splits in between."""
    columns, rows = (sorted({float(group.varied[key]) for group in groups}) for key in keys)
    cells = {criterion: np.full((len(rows), len(columns)), np.nan) for criterion in TUNED}
    for group in groups:
        x, y = (group.varied[key] for key in keys)
        for criterion, (mean, _) in group.mean_std("validation").items():
            if criterion in cells:
                cells[criterion][rows.index(y), columns.index(x)] = mean
    return (columns, rows), cells
