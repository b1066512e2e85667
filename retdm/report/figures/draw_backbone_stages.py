"""Figures of the share of each stage in linear methods, drawn from arrays and small pictures."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from retdm.display.figure_text import label_names, plain
from retdm.report.figures.backbone_stages import MOST_LABEL_SHARES, Explained, LabelShare, Selection, label_mean
from retdm.report.figures.style import ONE_COLUMN, QUIET, TITLE, WIDTH, deviation, mean, quiet
from retdm.report.groups import Floats
from retdm.report.tables import number

MOST_SELECTING = ONE_COLUMN  # labels of a figure
CELLS = 1 + MOST_LABEL_SHARES  # of a line: an image with as many labels as it may show
COLOUR_OF = {"": "#00785a", "−": "#d55e00", "+": "#0072b2", "?": "#555555"}


def stage_colours(n: int) -> list[str]:
    """From the input on, light to dark."""
    return [to_hex(colour) for colour in matplotlib.colormaps["viridis_r"](np.linspace(0.06, 0.95, n))]


def draw_selection(title: str, found: Selection) -> Figure:
    """Above a stacked bar a label, its features and their shares; below what is selected of each stage."""
    totals = found.counts.sum(axis=2).mean(axis=0)
    drawn = label_names(found.labels, 26)
    kept = np.arange(len(found.labels))
    if len(kept) > MOST_SELECTING:
        kept = np.sort(np.argsort(-totals, kind="stable")[:MOST_SELECTING])
    colours = stage_colours(len(found.stages))
    above, below = 0.6 + 0.25 * len(kept), 0.6 + 0.25 * len(found.stages)
    figure = Figure(figsize=(WIDTH, 0.7 + above + below), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    figure.suptitle(plain(title, 100), **TITLE)
    (numbers, shares), (of_labels, of_stages) = figure.subplots(2, 2, height_ratios=[above, below], sharey="row")
    counts, parts = found.counts[:, kept], found.shares[:, kept]
    _stacked(numbers, counts, colours)
    sums = counts.sum(axis=2)
    if len(sums) > 1:
        spread = [deviation(column) for column in sums.T]
        ends = {"fmt": "none", "ecolor": "k", "elinewidth": 1, "capsize": 2}
        numbers.errorbar(sums.mean(axis=0), range(len(kept)), xerr=spread, **ends)
    numbers.set_title("selected features of each label", size=10.5)
    _stacked(shares, 100 * parts, colours)
    shares.set_xlim(0, 100)
    shares.set_title("% of them", size=10.5)
    numbers.set_yticks(range(len(kept)), [drawn[j] for j in kept])
    numbers.set_ylim(len(kept) - 0.4, -0.6)
    _stage_bars(of_labels, found.counts.mean(axis=1), colours, ".1f")
    of_labels.set_title("selected features of each stage, mean of the labels", size=10.5)
    of_labels.set_yticks(range(len(found.stages)), [plain(name, 26) for name in found.names])
    of_labels.set_ylim(len(found.stages) - 0.4, -0.6)
    if found.widths:
        _stage_bars(of_stages, 100 * label_mean(found.of_stage), colours, ".1f")
        of_stages.set_title("% of the stage's features", size=10.5)
    else:
        of_stages.set_axis_off()
    for axes in figure.axes:
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    handles = [Patch(color=colour) for colour in colours]
    names = [plain(name, 20) for name in found.names]
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 6), frameon=False, fontsize=9)
    return figure


def _stacked(axes: Axes, values: Floats, colours: Sequence[str]) -> None:
    """A bar a label of (R, L, S), the stages beside each other at their means."""
    quiet(axes)
    left = np.zeros(values.shape[1])
    for s, colour in enumerate(colours):
        means = np.nan_to_num([mean(column) for column in values[:, :, s].T])
        axes.barh(np.arange(len(left)), means, left=left, color=colour, height=0.72)
        left += means


def _stage_bars(axes: Axes, values: Floats, colours: Sequence[str], form: str) -> None:
    """A bar a stage of (R, S), with its number at its end."""
    quiet(axes)
    means, spread = [mean(column) for column in values.T], [deviation(column) for column in values.T]
    axes.barh(
        np.arange(len(colours)), means, color=colours, height=0.72, xerr=spread if len(values) > 1 else None, capsize=2
    )
    for s, (end, off) in enumerate(zip(means, spread, strict=True)):
        axes.annotate(format(end, form), (end + off, s), (4, 0), textcoords="offset points", va="center", size=8.5)
    axes.margins(x=0.14)


def draw_contributions(title: str, stages: Sequence[str], images: Sequence[Explained], labels: Sequence[str]) -> Figure:
    """Images, and beside each for each of its labels a signed bar a stage, and one of the intercept."""
    lines, names = _in_lines(images), dict(zip(labels, label_names(labels, 15), strict=True))
    columns = max(3, *(sum(1 + len(image.labels) for image in line) for line in lines))
    figure = Figure(figsize=(WIDTH, 0.5 + 1.75 * len(lines)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.05, h_pad=0.06)  # type: ignore[union-attr, call-arg]
    figure.suptitle(plain(title, 100), **TITLE)
    for line, cells in zip(lines, figure.subplots(len(lines), columns, squeeze=False), strict=True):
        left = list(cells)
        for image in line:
            _picture(left.pop(0), image)
            values = np.array([[*share.values, share.intercept] for share in image.labels])
            low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
            for share, heights in zip(image.labels, values, strict=True):
                axes = left.pop(0)
                _signed_bars(axes, heights, stages)
                axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
                axes.set_title(_heading(share, names[share.label]), size=8.5, color=COLOUR_OF[share.sign])
        for axes in left:
            axes.set_axis_off()
    return figure


def _in_lines(images: Sequence[Explained]) -> list[list[Explained]]:
    """Images in their order, as many in a line as it has cells for, with their labels."""
    lines: list[list[Explained]] = [[]]
    for image in images:
        taken = sum(1 + len(each.labels) for each in lines[-1])
        if taken and taken + 1 + len(image.labels) > CELLS:
            lines.append([])
        lines[-1].append(image)
    return lines


def _picture(axes: Axes, image: Explained) -> None:
    with Image.open(image.picture) as pixels:
        axes.imshow(np.asarray(pixels.convert("RGB")))
    axes.set_axis_off()
    name = image.name if len(image.name) <= 18 else f"…{image.name[-17:]}"
    axes.set_title(plain(name, 18), size=8.5, color=QUIET)


def _signed_bars(axes: Axes, heights: Floats, stages: Sequence[str]) -> None:
    """One a stage, and the last of the intercept."""
    quiet(axes)
    axes.grid(visible=False, axis="x")
    axes.bar(np.arange(len(heights)), heights, color=[*stage_colours(len(stages)), "#999999"], width=0.78)
    axes.axhline(0, color="k", linewidth=0.8)
    axes.set_xticks(np.arange(len(heights)), [*(plain(stage, 7) for stage in stages), "b"])
    axes.tick_params(labelsize=7.5, length=0)


def _heading(share: LabelShare, name: str) -> str:
    logit = share.values.sum() + share.intercept
    return f"{share.sign}{name}  {number(share.score)}\nlogit {logit:z.1f}"
