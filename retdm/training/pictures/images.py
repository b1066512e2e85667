"""Images with their predicted and true labels, and heat maps of where a method finds them."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea, VPacker
from matplotlib.transforms import Transform

from retdm.data.loader import Pixels
from retdm.data.modules import ImageData
from retdm.display.figure_text import label_names, plain
from retdm.methods.base import Method
from retdm.training.regions import SIDE, brightness, instance_scores

SHOWN = 12  # images of the grid
COLUMNS = 4
WORDS = 24  # of one kind under an image; so many fill the lines
HEATED, HEATS = 10, 4  # images with heat maps, and labels of each
# Okabe and Ito's colours, which colour-blind readers can distinguish.
HIT, MISSED, EXTRA, UNKNOWN = "#00785a", "#d55e00", "#0072b2", "#777777"

Words = list[tuple[str, str]]  # (text, colour)


def spread(n: int, most: int) -> np.ndarray:
    """At most ``most`` of the places 0 … n-1, evenly spread; int64."""
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).round().astype(int)


def choose_rows(target: np.ndarray, most: int) -> np.ndarray:
    """Places of at most ``most`` rows of ``target`` (n, L): one that has each label, and others spread evenly.

    A function of the targets alone, so that every stage and every resumed run shows the same images.
    """
    n, labels = target.shape
    chosen: list[int] = []
    for label in range(labels):
        if len(chosen) == most:
            break
        positives = np.setdiff1d(np.flatnonzero(target[:, label]), chosen)
        if len(positives):
            chosen.append(int(positives[len(positives) * label // labels]))
    others = np.setdiff1d(np.arange(n), chosen)
    return np.sort(np.concatenate([np.array(chosen, int), others[spread(len(others), most - len(chosen))]]))


def labels_in_words(
    target: np.ndarray, known: np.ndarray, predicted: np.ndarray, scores: np.ndarray, names: list[str]
) -> Words:
    """The right, missed and extra labels of one image with their scores; all (L,).

    Returns:
        Text and colour, label by label: ``sea .93`` hit, ``−sea .31`` missed, ``+sea .77`` extra, ``?sea .81``
        predicted and unknown.
    """
    target, predicted = target.astype(bool), predicted.astype(bool)
    kinds = (
        ("", HIT, target & predicted & known),
        ("−", MISSED, target & ~predicted & known),
        ("+", EXTRA, ~target & predicted & known),
        ("?", UNKNOWN, predicted & ~known),
    )
    words = [
        (f"{sign}{names[j]} {f'{scores[j]:.2f}'.removeprefix('0')}", colour)
        for sign, colour, where in kinds
        for j in np.flatnonzero(where)[:WORDS]
    ]
    return words or [("none", HIT)]


def in_lines(words: Words, width: int = 24, most: int = 4) -> list[Words]:
    """Words in lines of at most ``width`` characters where a word allows it; ``…`` ends more than ``most`` lines."""
    lines: list[Words] = [[]]
    for word in words:
        if lines[-1] and sum(len(text) + 1 for text, _ in lines[-1]) + len(word[0]) > width:
            lines.append([])
        lines[-1].append(word)
    if len(lines) > most:
        lines = [*lines[:most], [("…", UNKNOWN)]]
    return lines


def _coloured(lines: list[Words], place: tuple[float, float], within: Transform, size: float) -> AnchoredOffsetbox:
    """Text of several colours whose middle top stands at ``place``."""
    rows: list[Artist] = [
        HPacker(children=[TextArea(text, textprops={"color": c, "size": size}) for text, c in line], pad=0, sep=6)
        for line in lines
    ]
    child = VPacker(children=rows, align="center", pad=0, sep=3)
    return AnchoredOffsetbox(
        "upper center", child=child, bbox_to_anchor=place, bbox_transform=within, frameon=False, pad=0, borderpad=0
    )


def draw_predictions(
    pixels: Pixels, rows: dict[str, np.ndarray], predicted: np.ndarray, labels: list[str], title: str
) -> Figure:
    """Some images of a split with their right, missed and extra labels, each with its score.

    Args:
        pixels: images of the data set.
        rows: ``predictions`` of :class:`retdm.training.evaluation.Evaluation`: index, scores, target, known.
        predicted: (n, L) the labels decided on.
        labels: the L names.
    """
    places = choose_rows(rows["target"] * rows["known"], SHOWN)
    names = label_names(labels, 22)
    captions = [
        in_lines(labels_in_words(rows["target"][i], rows["known"][i], predicted[i], rows["scores"][i], names))
        for i in places
    ]
    columns = min(COLUMNS, len(places))
    height = -(-len(places) // columns)
    # In inches: the head, and a cell of an image with its caption.
    head, side, gap, caption = 0.75, 2.1, 0.15, 0.12 + 0.19 * max(len(lines) for lines in captions)
    width, total = max(columns, 2) * (side + gap) + gap, head + height * (side + caption) + gap
    figure = Figure(figsize=(width, total), dpi=120)
    figure.text(0.5, 1 - 0.14 / total, title, size=12, ha="center", va="top")
    key = [[("hit", HIT), ("−missed", MISSED), ("+extra", EXTRA), ("with its score", UNKNOWN)]]
    figure.add_artist(_coloured(key, (0.5, 1 - 0.42 / total), figure.transFigure, 10))
    for cell, (i, lines) in enumerate(zip(places, captions, strict=True)):
        row, column = divmod(cell, columns)
        top = total - head - row * (side + caption)
        box = ((gap + column * (side + gap)) / width, (top - side) / total, side / width, side / total)
        axes = figure.add_axes(box)
        axes.imshow(pixels[rows["index"][i]], interpolation="bilinear")
        axes.set_axis_off()
        axes.add_artist(_coloured(lines, (0.5, -0.03), axes.transAxes, 9.5))
    return figure


def draw_heat_maps(method: Method, data: ImageData, split: str, title: str) -> Figure:
    """A few images of a split, and where a method that scores regions finds each of their labels."""
    rows = data.splits[split]
    targets = data.source.targets[rows] * data.source.known[rows]
    places = choose_rows(targets, HEATED)
    names = label_names(method.labels, 18)
    columns = 1 + min(HEATS, max(1, int(targets[places].sum(1).max())))
    gap, caption = 0.08, 0.14  # in sides of an image, as all that follows
    width, height = gap + columns * (1 + gap), len(places) * (1 + caption) + gap
    side, head = 2.2, 0.4  # in inches
    total = side * height + head
    figure = Figure(figsize=(max(side * width, 6), total))
    figure.suptitle(plain(title, 100), size=12, y=1 - 0.12 / total)
    # One axes for all pictures: making and drawing one for each takes most of a second.
    axes = figure.add_axes((0, 0, 1, side * height / total))
    axes.set_axis_off()
    for row, (target, (index, scores)) in enumerate(
        zip(targets[places], instance_scores(method, data, rows[places]), strict=True)
    ):
        top = caption + row * (1 + caption)
        pixels = data.images[index]
        axes.imshow(pixels, extent=(0, 1, top + 1, top))
        for column, label in enumerate(np.flatnonzero(target)[: columns - 1], start=1):
            left = column * (1 + gap)
            place = (left, left + 1, top + 1, top)
            heat = scores[:, label].reshape(SIDE, SIDE)
            axes.imshow(pixels, extent=place)
            axes.imshow(brightness(heat), "inferno", vmin=0, vmax=1, alpha=0.65, extent=place)
            name = f"{names[label]}  ≤ {heat.max():.2f}"
            axes.text(left + 0.5, top - 0.03, name, size=8, ha="center", va="bottom")
    axes.set(xlim=(-gap, width - gap), ylim=(height, 0))  # imshow moved them
    return figure
