"""The quality of each label on a split: precision-recall curves and bars. Notation: n rows, L labels."""

from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from retdm.display.figure_text import label_names
from retdm.training.pictures.images import spread

NAMED_CURVES = 20  # nobody reads a longer legend
OTHER_CURVES = 40  # drawn grey behind them
BARS = 40
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c6d31", "#000000", "#7b4fa3", "#a6b82a")
DASHES = ("solid", "dashed")


def best_first(values: np.ndarray) -> list[int]:
    """Labels by average precision (L,); those without one are left out."""
    order = [int(j) for j in np.argsort(-values, kind="stable") if not np.isnan(values[j])]
    if not order:
        raise ValueError("no label has a positive image in the validation split")
    return order


def ends(order: list[int], most: int) -> list[int]:
    """The first and the last of too many."""
    return order if len(order) <= most else [*order[: most // 2], *order[-(most // 2) :]]


def _curve(rows: dict[str, np.ndarray], label: int) -> np.ndarray:
    """(recall, precision) of a label as the corners of its steps (n, 2)."""
    known = rows["known"][:, label].astype(bool)
    from sklearn.metrics import precision_recall_curve  # takes a second, which no first batch should wait for

    precision, recall, _ = precision_recall_curve(rows["target"][known, label], rows["scores"][known, label])
    hit = recall > 0  # before the first positive there is no step
    recall, precision = np.append(recall[hit], 0.0), np.append(precision[hit], precision[hit][-1])
    return np.stack([recall, precision], axis=1)


def draw_curves(rows: dict[str, np.ndarray], values: np.ndarray, labels: list[str], title: str) -> Figure:
    """The precision-recall curve of labels that have a positive among their known cells, best first in the legend.

    Of many, the best and the worst are named and some of the others drawn grey.

    Args:
        rows: ``predictions`` of :class:`retdm.training.evaluation.Evaluation`.
        values: (L,) average precision, NaN where a label has no positive.
    """
    order, names = best_first(values), label_names(labels, 22)
    named = ends(order, NAMED_CURVES)
    others = [j for j in order if j not in set(named)]
    figure = Figure(figsize=(7.6, 5.0), dpi=120)
    axes = figure.add_axes((0.085, 0.11, 0.59, 0.79))
    grey = [_curve(rows, others[place]) for place in spread(len(others), OTHER_CURVES)]
    axes.add_collection(LineCollection([_steps(curve) for curve in grey], colors="#dddddd", linewidths=1, zorder=1))
    handles = []
    for place, j in enumerate(named):
        turn, colour = divmod(place, len(COLOURS))
        style: dict[str, Any] = {"color": COLOURS[colour], "linestyle": DASHES[turn], "linewidth": 1.8}
        handles += axes.plot(*_curve(rows, j).T, drawstyle="steps-post", **style)
    axes.set(xlim=(-0.01, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{title}: mAP {np.nanmean(values):.3f}", size=12, y=0.97)
    heading = "average precision"
    if len(named) < len(order):
        heading += f"\n{NAMED_CURVES // 2} best, {NAMED_CURVES // 2} worst of {len(order)}"
    if len(order) < len(labels):
        heading += f"\n{len(labels) - len(order)} without an image"
    texts = [f"{values[j]:.3f}  {names[j]}" for j in named]
    figure.legend(
        handles, texts, title=heading, loc="upper left", bbox_to_anchor=(0.685, 0.91), frameon=False, fontsize=9
    )
    return figure


def _steps(curve: np.ndarray) -> np.ndarray:
    """The corners of a line that goes level before it falls or climbs."""
    x, y = curve.T
    return np.stack([np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]], axis=1)


def draw_bars(
    rows: dict[str, np.ndarray], values: np.ndarray, predicted: np.ndarray, labels: list[str], title: str
) -> Figure:
    """Average precision of each label, best first, its F1 and what chance would reach; beside it its images.

    Args:
        rows, values: see :func:`draw_curves`.
        predicted: (n, L) the labels decided on.
    """
    target, known = rows["target"].astype(bool), rows["known"].astype(bool)
    order, names = best_first(values), label_names(labels, 26)
    shown = ends(order, BARS)
    positives, cells = (target & known).sum(0), known.sum(0)
    decided = predicted.astype(bool) & known
    f1 = 2 * (decided & target).sum(0) / np.maximum(decided.sum(0) + positives, 1)
    height = 0.24 * len(shown)  # in inches
    figure = Figure(figsize=(7.6, height + 1.5), dpi=120)
    axes = figure.add_axes((0.36, 0.62 / (height + 1.5), 0.6, height / (height + 1.5)))
    places = np.arange(len(shown))
    axes.barh(places, values[shown], height=0.72, color="#9cc4de", label="average precision")
    axes.plot(f1[shown], places, "o", color="#0072b2", markersize=4.5, label="F1")
    axes.plot((positives / np.maximum(cells, 1))[shown], places, "|", color="#444444", markersize=9, label="chance")
    axes.set_yticks(places, [f"{names[j]}  {positives[j]:,}" for j in shown])
    axes.set(ylim=(len(shown) - 0.4, -0.6), xlim=(-0.01, 1.01))
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, size=12, y=1 - 0.14 / (height + 1.5), va="top")
    about = "beside a label its images"
    if len(shown) < len(order):
        about += f"; the {BARS // 2} best and the {BARS // 2} worst of {len(order)}"
    axes.set_title(about, size=9.5, color="#444444")
    figure.legend(loc="lower center", ncols=3, frameon=False, fontsize=9)
    return figure
