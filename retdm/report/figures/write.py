"""All figures of a report, drawn and written. Notation: n images, L labels."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from retdm.files import atomic
from retdm.report.figures.backbone_stages import MOST_LABEL_SHARES, RAW, explained, selecting
from retdm.report.figures.draw_backbone_stages import MOST_SELECTING, draw_contributions, draw_selection
from retdm.report.figures.over_settings import characteristics, learning_curves, settings, weak_labels
from retdm.report.figures.per_label import co_occurrence, label_precision
from retdm.report.figures.shown_groups import Drawn, Earlier, by_data, splits_or_folds
from retdm.report.figures.training import convergence
from retdm.report.groups import Group, split_names, validation_map
from retdm.runs.folder.paths import RunFolder

DPI = 200


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
    yield from weak_labels(groups)
    yield from settings(groups, methods)
    yield from characteristics(groups, methods)
    yield from label_precision(groups, methods)
    yield from convergence(groups, methods)
    yield from co_occurrence(groups)
    yield from selection(groups)
    yield from contributions(groups)
    yield from predictions(groups)


def _save(drawn: Drawn, path: Path) -> None:
    with atomic(path) as part:
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


def selection(groups: Sequence[Group]) -> Iterator[Drawn]:
    """Dong et al.'s argument for all depths of the network: the features of each stage that an L1 penalty selects."""
    if (best := selecting(groups)) is None:
        return
    group, found = best
    title = f"Features that {group.method} selects of each stage on {group.data}"
    caption = (
        f"{group.name}: coefficients that are not zero, mean over {splits_or_folds([group])}, lines one standard "
        "deviation; stages from the input on, in brackets the number of their features."
    )
    if len(found.labels) > MOST_SELECTING:
        caption += f" Above, the {MOST_SELECTING} of {len(found.labels)} labels that select most."
    if not found.standardised:
        caption += f" {RAW}"
    yield Drawn("selected", title, caption, draw_selection(title, found))


def contributions(groups: Sequence[Group]) -> Iterator[Drawn]:
    """The share of each stage in the scores of single images, for the group that is best on the validation split."""
    for group in sorted(groups, key=validation_map, reverse=True):
        run = group.runs[0]
        stages, images = explained(run)
        if images:
            title = f"What each stage adds to the scores of test images of {run.data}"
            caption = (
                f"{group.name}, {split_names([run.split_fold], run.folds)}: sums of coefficient times feature, and the "
                f"intercept (b); together they are the logit. True and predicted labels, at most {MOST_LABEL_SHARES} "
                "of an image: hits green, missed ones orange with a minus, extra ones blue with a plus. The images "
                "were chosen by their true labels alone."
            )
            yield Drawn("contributions", title, caption, draw_contributions(title, stages, images, run.labels))
            return


def predictions(groups: Sequence[Group]) -> Iterator[Drawn]:
    """RETDM's Fig. 4: the images that the best group drew when its training ended.

    Run folders hold no images, so the picture is the run's own, of the validation split.
    """
    for group in sorted(groups, key=validation_map, reverse=True):
        run = group.runs[0]
        stages = [stage["stage"] for stage in (run.metrics or {}).get("stages") or []] or ["fitted"]
        path = RunFolder(run.folder).pictures / f"predictions-{stages[-1]}.png"
        if path.exists():
            title = f"Validation images of {run.data} with true and predicted labels: {group.name}, split {run.split}"
            caption = (
                "Hits green, missed labels orange with a minus, extra ones blue with a plus, each with its score. "
                "The images were chosen by their true labels alone."
            )
            if len(groups) > 1:
                caption += " Of all groups the best by validation mAP."
            yield Drawn("predictions", title, caption, path)
            return
