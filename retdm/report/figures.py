"""Which figures the runs allow, and what they show. Letters: n images, L labels."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from retdm.criteria import RULES, decide
from retdm.files import whole
from retdm.report.by_stage import MOST_PARTS, RAW, explained, selecting
from retdm.report.collect import Floats, Group, Run, cut_names, differing, short, validation_map
from retdm.report.draw_by_stage import MOST_SELECTING, draw_contributions, draw_selection
from retdm.report.drawing import (
    MOST_LABELS,
    MOST_PAIRED,
    History,
    draw_co_occurrence,
    draw_convergence,
    draw_difficulties,
    draw_heat_map,
    draw_label_precision,
    draw_learning_curves,
    draw_setting_curve,
    styles_of,
)
from retdm.runs.folder import RunFolder

DPI = 200
CURVES = ("average_precision", "coverage_normalised", "hamming_loss", "one_error", "ranking_loss")
TUNED = ("mAP", "O-F1")  # on the validation part: a setting is not chosen on the test part
HARD = ("mAP", "instance_average_precision")  # what difficulties may spoil
SIZE = "data.train_size"
DIFFICULTIES = "data.difficulties."
IN_WORDS = {  # titles of the difficulties' panels
    "witness_rate": "share with the label",
    "co_occurrence": "a companion comes along",
    "several_needed": "two kinds are needed",
    "alike": "instances share their light",
    "place_matters": "only the upper half counts",
    "label_noise": "wrong labels to learn from",
    "look_alikes": "look-alikes of a label's",
}
MOST_SHOWN = 6  # groups in one figure
MOST_BESIDE = 3  # groups whose panels stand beside the true one

Bools = NDArray[np.bool_]
Earlier = Mapping[str, tuple[str, float]]


class Drawn(NamedTuple):
    """A figure with its words.

    Attributes:
        kind: first part of its file's name.
        title: what it shows; its alternative text.
        caption: how it is read.
        figure: itself, or the PNG file that a run left.
    """

    kind: str
    title: str
    caption: str
    figure: Figure | Path


def write_figures(out: Path, groups: list[Group], earlier: Mapping[str, Earlier] | None = None) -> list[Path]:
    """Write every figure that the runs have the data for as PNG into ``out/figures``.

    Title and caption stand in the file, as ``Title`` and ``Description``.

    Args:
        groups: of finished runs.
        earlier: by data, of each criterion (name, value) of the best earlier method, for the learning curves.

    Returns:
        Paths, data set by data set.
    """
    methods = sorted({group.method for group in groups})
    written: list[Path] = []
    for members in by_data(groups):
        data = members[0].data
        for drawn in draw_all(members, methods, (earlier or {}).get(data, {})):
            path = _free(out / "figures", f"{drawn.kind}-{data}", written)
            path.parent.mkdir(parents=True, exist_ok=True)
            _save(drawn, path)
            written.append(path)
    return written


def draw_all(groups: Sequence[Group], methods: Sequence[str], earlier: Earlier) -> Iterator[Drawn]:
    """Every figure that groups of one data set allow.

    Args:
        methods: all of the report, for their colours.
        earlier: of this data set.
    """
    yield from learning_curves(groups, methods, earlier)
    yield from settings(groups, methods)
    yield from difficulties(groups, methods)
    yield from label_precision(groups, methods)
    yield from convergence(groups, methods)
    yield from co_occurrence(groups)
    yield from selection(groups)
    yield from contributions(groups)
    yield from predictions(groups)


def _save(drawn: Drawn, path: Path) -> None:
    with whole(path) as part:
        if isinstance(drawn.figure, Path):
            about = PngInfo()
            about.add_text("Title", drawn.title)
            about.add_text("Description", drawn.caption)
            with Image.open(drawn.figure) as image:
                image.save(part, format="PNG", pnginfo=about)
        else:
            # Without Software the same runs give the same file under another Matplotlib, where it draws alike.
            about_figure = {"Title": drawn.title, "Description": drawn.caption, "Software": None}
            drawn.figure.savefig(part, format="png", dpi=DPI, metadata=about_figure)


def _free(folder: Path, name: str, taken: Sequence[Path]) -> Path:
    """``<folder>/<name>.png``, numbered where this report has written one of that name."""
    stem = re.sub(r"[^\w.-]+", "_", name)
    paths = (folder / f"{stem}{'' if n == 1 else f'-{n}'}.png" for n in range(1, len(taken) + 2))
    return next(path for path in paths if path not in taken)


# Which groups


def by_data(groups: Sequence[Group]) -> list[list[Group]]:
    """Groups of the same data and labels together, in the order of their coming."""
    found: dict[tuple[str, tuple[str, ...]], list[Group]] = defaultdict(list)
    for group in groups:
        found[group.data, tuple(group.runs[0].labels)].append(group)
    return list(found.values())


def choose(groups: Sequence[Group], most: int) -> list[Group]:
    """At most ``most`` groups in their order: of too many the best of each method, by validation mAP."""
    if len(groups) <= most:
        return list(groups)
    best: dict[str, Group] = {}
    for group in sorted(groups, key=validation_map, reverse=True):
        best.setdefault(group.method, group)
    kept = [id(group) for group in list(best.values())[:most]]
    return [group for group in groups if id(group) in kept]


def _chosen(shown: Sequence[Group], groups: Sequence[Group]) -> str:
    """What a caption says of the choice."""
    return "" if len(shown) == len(groups) else f" Of {len(groups)} groups the best of each method by validation mAP."


def names_of(groups: Sequence[Group], without: Sequence[str] = ()) -> list[str]:
    """Each group's method, its backbone where they differ, and its varied settings but those of ``without``."""
    several = len({group.backbone for group in groups}) > 1
    return [
        " · ".join(
            [
                group.method,
                *([group.backbone] if several else []),
                *short({key: value for key, value in group.varied.items() if key not in without}),
            ]
        )
        for group in groups
    ]


def _styled(groups: Sequence[Group], names: Sequence[str], methods: Sequence[str]) -> dict[str, Any]:
    pairs = dict.fromkeys((group.method, name) for group, name in zip(groups, names, strict=True))
    return styles_of(list(pairs), methods)


# The figures


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
    title = f"Learning curves on {groups[0].data}, test part"
    caption = "Mean over splits, bars one standard deviation; arrows point to better."
    known = {criterion: earlier[criterion] for criterion in criteria if criterion in earlier}
    if known:
        caption += " Dashed: the best earlier method, with all training images."
    styles = _styled(groups, names, methods)
    yield Drawn("learning_curves", title, caption, draw_learning_curves(title, curves, styles, criteria, known))


def _training_images(group: Group) -> float | None:
    # A run that is fitted anew on the validation part too learns from both.
    parts = [("train", "validation") if run.config.get("refit") else ("train",) for run in group.runs]
    sizes = [
        sum(run.sizes[part] for part in of) if run.sizes else run.train_size
        for run, of in zip(group.runs, parts, strict=True)
    ]
    known = [size for size in sizes if size is not None]
    return round(sum(known) / len(known)) if known else None


def settings(groups: Sequence[Group], methods: Sequence[str]) -> Iterator[Drawn]:
    """RETDM's Fig. 5: a heat map of two numeric settings, or a curve over one, on the validation part.

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
                title = f"{' · '.join(names)} on {data}, validation part"
                caption = f"Mean over {_cuts(members)} against {keys[0]} and {keys[1]}; framed: the best; grey: no run."
                yield Drawn("settings", title, caption, draw_heat_map(title, (keys[0], keys[1]), places, cells))
    for key, members in curves.items():
        lines = names_of(members, without=[key])
        points: dict[str, dict[float, dict[str, Floats]]] = defaultdict(dict)
        for group, name in zip(members, lines, strict=True):
            points[name][group.varied[key]] = group.criteria("validation")
        title = f"{key} on {data}, validation part"
        caption = f"Mean over {_cuts(members)}, bars one standard deviation."
        styles = _styled(members, lines, methods)
        yield Drawn("settings", title, caption, draw_setting_curve(title, key, points, styles, TUNED))


def difficulties(groups: Sequence[Group], methods: Sequence[str]) -> Iterator[Drawn]:
    """How methods bear each difficulty of drawn bags where the others are as in most runs."""
    levels = [{key: value for key, value in g.varied.items() if key.startswith(DIFFICULTIES)} for g in groups]
    keys = sorted({key for level in levels for key in level})
    usual = {key: Counter(level[key] for level in levels).most_common(1)[0][0] for key in keys}
    names = names_of(groups, without=keys)
    styles = _styled(groups, names, methods)
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
            title = f"What {criterion.replace('_', ' ')} suffers from on {groups[0].data}, test part"
            caption = f"Mean over {_cuts(groups)}, bars one standard deviation; one difficulty at a time."
            figure = draw_difficulties(title, panels, styles, criterion)
            yield Drawn(f"difficulties_{criterion}", title, caption, figure)


def _axis(key: str, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and key != "data.folds"


def _cuts(groups: Sequence[Group]) -> str:
    return "splits" if all(group.folds is None for group in groups) else "splits and folds"


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


def label_precision(groups: Sequence[Group], methods: Sequence[str]) -> Iterator[Drawn]:
    """Average precision of each label."""
    shown = choose(groups, MOST_SHOWN)
    labels, names = groups[0].runs[0].labels, names_of(shown)
    values = {name: _per_label(group, "AP") for group, name in zip(shown, names, strict=True)}
    if all(np.isnan(rows).all() for rows in values.values()):
        return
    positives = np.concatenate([_per_label(group, "positives") for group in shown]).mean(axis=0)
    title = f"Average precision of each label of {groups[0].data}, test part"
    caption = (
        "Mean over splits, lines from the least split to the greatest; dotted: mAP; beside a label its test images."
    )
    if len(labels) > MOST_LABELS:
        caption += f" The best and the worst {MOST_LABELS // 2} of {len(labels)} labels."
    figure = draw_label_precision(title, labels, positives, values, _styled(shown, names, methods))
    yield Drawn("label_precision", title, caption + _chosen(shown, groups), figure)


def _per_label(group: Group, key: str) -> Floats:
    """(splits, L); NaN where undefined."""
    reports = [run.metrics["per_label"] for run in group.runs if run.metrics is not None]
    values = [[report.get(label, {}).get(key) for label in group.runs[0].labels] for report in reports]
    return np.array(values, dtype=np.float64)


def convergence(groups: Sequence[Group], methods: Sequence[str]) -> Iterator[Drawn]:
    """RETDM's Fig. 6: losses and validation mAP by epoch, of the first split of each group."""
    shown = choose(groups, MOST_SHOWN)
    names = names_of(shown)
    found = {name: history_of(group.runs[0]) for group, name in zip(shown, names, strict=True)}
    histories = {name: history for name, history in found.items() if history is not None}
    if not histories:
        return
    title = f"Training on {groups[0].data}: loss and validation mAP by epoch"
    caption = (
        "The first split of each group. Left: the weighted loss of the stage, solid in training, dashed on the "
        "validation part. Bands are stages; another sum of losses begins with each." + _chosen(shown, groups)
    )
    yield Drawn("convergence", title, caption, draw_convergence(title, histories, _styled(shown, names, methods)))


def history_of(run: Run) -> History | None:
    """What a run logged for TensorBoard, by epoch; None where it trained in no epochs or logged nothing."""
    stages: list[tuple[str, int, int]] = []
    for stage in (run.metrics or {}).get("stages") or []:
        first = stages[-1][2] + 1 if stages else 1
        stages.append((stage["stage"], first, first + stage["epochs"] - 1))
    folder = RunFolder(run.folder).tensorboard
    if not stages or not folder.is_dir():
        return None
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 1})
    events.Reload()

    def logged(tag: str) -> dict[int, list[float]]:
        return _by_step(events, tag) if tag in events.Tags()["scalars"] else {}

    # The first of a step: what test.py logs later stands at step 0 again.
    epochs = {step: int(values[0]) + 1 for step, values in logged("epoch").items()}

    def by_epoch(tag: str) -> dict[int, float]:
        found: dict[int, list[float]] = defaultdict(list)
        for step, values in logged(tag).items():
            if step in epochs:
                found[epochs[step]].append(values[0])
        return {epoch: float(np.mean(values)) for epoch, values in sorted(found.items())}

    history = History(stages, by_epoch("train/loss"), by_epoch("validation/loss"), by_epoch("validation/mAP"))
    return history if history.train_loss or history.validation_map else None


def _by_step(events: Any, tag: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = defaultdict(list)
    for event in events.Scalars(tag):
        found[event.step].append(event.value)
    return found


def co_occurrence(groups: Sequence[Group]) -> Iterator[Drawn]:
    """Which labels stand together, in truth and in what was predicted under each run's rule, over all its splits."""
    groups = [group for group in groups if any(_decides(run) for run in group.runs)]
    labels = groups[0].runs[0].labels if groups else []
    if len(labels) < 2:
        return
    shown = choose(groups, MOST_BESIDE)
    truth: dict[int, tuple[Bools, Bools]] = {}
    predicted: dict[str, Floats] = {}
    for group, name in zip(shown, names_of(shown), strict=True):
        rows = [_decided(run) for run in group.runs if _decides(run)]
        predicted[name] = _shares([(decided, known) for _, _, decided, known in rows])
        truth |= {split: (target, known) for split, target, _, known in rows}
    true = _shares(list(truth.values()))
    kept = _most_paired(list(truth.values()))
    title = f"Labels of {groups[0].data} that stand together, test part"
    caption = "Of the images with the label of a row, the share that have a column's as well, over all splits."
    if len(kept) < len(labels):
        caption += f" The {len(kept)} of {len(labels)} labels that stand with others most often."
    cells = {name: shares[np.ix_(kept, kept)] for name, shares in predicted.items()}
    figure = draw_co_occurrence(title, [labels[j] for j in kept], true[np.ix_(kept, kept)], cells)
    yield Drawn("co_occurrence", title, caption + _chosen(shown, groups), figure)


def _decides(run: Run) -> bool:
    return run.config["method"].get("decide") in RULES and RunFolder(run.folder).predictions.exists()


def _decided(run: Run) -> tuple[int, Bools, Bools, Bools]:
    """Split, target, decided labels and known cells, (n, L) each."""
    rows = run.predictions()
    threshold = (run.metrics or {}).get("threshold", 0.5)
    decided = decide(rows["scores"], run.config["method"]["decide"], threshold)
    return run.split, rows["target"].astype(bool), decided, rows["known"].astype(bool)


def _together(label_sets: Bools, known: Bools) -> tuple[Floats, Floats]:
    """(L, L): images with the labels of row and column, and those with the row's where the column's is known."""
    have = (label_sets & known).astype(np.float64)
    return have.T @ have, have.T @ known.astype(np.float64)


def _shares(parts: Sequence[tuple[Bools, Bools]]) -> Floats:
    """(L, L) share of images with a row's label that have a column's; NaN where there are none."""
    both, having = np.sum([_together(*part) for part in parts], axis=0)
    shares: Floats = np.divide(both, having, out=np.full_like(both, np.nan), where=having > 0)
    return shares


def _most_paired(parts: Sequence[tuple[Bools, Bools]]) -> NDArray[np.int64]:
    """The labels that most often stand with others, in their own order; all where they can be read."""
    both: Floats = np.sum([_together(*part)[0] for part in parts], axis=0)
    pairs = (both - np.diag(np.diag(both))).sum(axis=0)
    return np.sort(np.argsort(-pairs, kind="stable")[:MOST_PAIRED])


def selection(groups: Sequence[Group]) -> Iterator[Drawn]:
    """Dong et al.'s argument for all depths of the network: what an L1 penalty selects of each stage."""
    if (best := selecting(groups)) is None:
        return
    group, found = best
    title = f"Features that {group.method} selects of each stage on {group.data}"
    caption = (
        f"{group.name}: coefficients that are not zero, mean over {_cuts([group])}, lines one standard deviation; "
        "stages from the input on, in brackets the number of their features."
    )
    if len(found.labels) > MOST_SELECTING:
        caption += f" Above, the {MOST_SELECTING} of {len(found.labels)} labels that select most."
    if not found.standardised:
        caption += f" {RAW}"
    yield Drawn("selected", title, caption, draw_selection(title, found))


def contributions(groups: Sequence[Group]) -> Iterator[Drawn]:
    """What each stage adds to the scores of single images, of the group best on the validation part."""
    for group in sorted(groups, key=validation_map, reverse=True):
        run = group.runs[0]
        stages, images = explained(run)
        if images:
            title = f"What each stage adds to the scores of test images of {run.data}"
            caption = (
                f"{group.name}, {cut_names([run.cut], run.folds)}: sums of coefficient times feature, and the "
                f"intercept (b); together they are the logit. True and predicted labels, at most {MOST_PARTS} of "
                "an image: hits green, missed ones orange with a minus, extra ones blue with a plus. The images were "
                "chosen by their true labels alone."
            )
            yield Drawn("contributions", title, caption, draw_contributions(title, stages, images))
            return


def predictions(groups: Sequence[Group]) -> Iterator[Drawn]:
    """RETDM's Fig. 4: the images that the best group drew when its training ended.

    Run folders hold no images, so the picture is the run's own, of the validation part.
    """
    for group in sorted(groups, key=validation_map, reverse=True):
        run = group.runs[0]
        stages = [stage["stage"] for stage in (run.metrics or {}).get("stages") or []]
        path = RunFolder(run.folder).pictures / f"predictions-{stages[-1]}.png" if stages else None
        if path is not None and path.exists():
            title = f"Validation images of {run.data} with true and predicted labels: {group.name}, split {run.split}"
            caption = (
                "Hits green, missed labels orange with a minus, extra ones blue with a plus. "
                "The images were chosen by their true labels alone."
            )
            if len(groups) > 1:
                caption += " Of all groups the best by validation mAP."
            yield Drawn("predictions", title, caption, path)
            return
