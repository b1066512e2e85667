"""What a run shows: images with what was said of them, curves, and the space that images and label sets share."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea, VPacker
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox, Transform
from PIL import Image
from pytorch_lightning import Callback, Trainer
from sklearn.decomposition import PCA
from sklearn.metrics import precision_recall_curve
from tensorboard.plugins import projector
from torch.utils.tensorboard import SummaryWriter

from retdm.backbones.base import evaluating
from retdm.criteria import decide
from retdm.criteria.average_precision import label_average_precision
from retdm.data.loader import Pixels
from retdm.data.module import Data, ImageData
from retdm.methods.base import DeepMethod, Method
from retdm.training.evaluation import Evaluation
from retdm.training.regions import SIDE, brightness, scored
from retdm.training.stages import Stages

log = logging.getLogger(__name__)

SHOWN = 12  # images of the grid
COLUMNS = 4
HEATED, HEATS = 10, 4  # images with heat maps, and labels of each
POINTS = 500  # images, and label sets, of the embedding
NAMED_CURVES = 20  # beyond it a legend is no longer read
NAMED_SETS = 24
# Okabe and Ito's colours, which colour-blind readers tell apart as well.
HIT, MISSED, EXTRA, UNKNOWN = "#00785a", "#d55e00", "#0072b2", "#777777"
OTHER = "#999999"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c6d31", "#000000", "#7b4fa3", "#a6b82a")
DASHES = ("solid", "dashed")

Words = list[tuple[str, str]]  # (text, colour)
Found = TypeVar("Found", bound=Callback)


class Pictures(Callback):
    """Draws at the end of every stage, into TensorBoard and as PNG files.

    ``predictions-<stage>.png``: the same validation images each time, with what was predicted and what is true.
    ``heat_maps-<stage>.png``: where some of them carry their labels, of a method that scores regions.
    ``precision_recall-<stage>.png``: a curve a label. ``embedding-<stage>.png``, and TensorBoard's projector: images
    and label sets, where a method has both nets. It stands behind :class:`Stages` and :class:`Evaluation` in the list
    of callbacks. Nothing is drawn from PyTorch's generator, and a picture that fails is a warning, never a stop.

    Args:
        folder: of the PNG files; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        stages = _callback(trainer, Stages)
        if stages.entered or not trainer.is_global_zero:
            return
        method, data = cast(DeepMethod, pl_module), cast(Data, trainer.datamodule)  # type: ignore[attr-defined]
        rows = _callback(trainer, Evaluation).predictions
        stage = method.stage.name

        def embedding() -> Figure:
            space = embed(method, cast(ImageData, data))
            if trainer.logger is not None and trainer.logger.log_dir is not None:
                write_projector(Path(trainer.logger.log_dir), stage, [each.name for each in stages.stages], space)
            return draw_embedding(space, f"validation images and label sets after stage {stage}")

        drawings: dict[str, Callable[[], Figure]] = {
            "precision_recall": lambda: draw_curves(rows, method.labels, f"validation part after stage {stage}"),
        }
        if isinstance(data, ImageData):
            pixels = data.images
            drawings["predictions"] = lambda: draw_predictions(
                pixels, rows, method.labels, method.decide, f"validation images after stage {stage}"
            )
            if method.scores_instances:
                drawings["heat_maps"] = lambda: draw_heat_maps(
                    method, data, "validation", f"validation images after stage {stage}"
                )
        # A label net that no stage has trained yet would show nothing but its initial weights.
        if hasattr(method, "label_net") and any("label_net" in each.train for each in stages.stages[: stages.index]):
            drawings["embedding"] = embedding
        for name, draw in drawings.items():
            try:
                self._write(trainer, name, stage, rendered(draw()))
            except Exception as error:
                log.warning("stage %s: the picture of %s failed: %s: %s", stage, name, type(error).__name__, error)
                log.debug("where it failed", exc_info=True)

    def _write(self, trainer: Trainer, name: str, stage: str, pixels: np.ndarray) -> None:
        write_pixels(self.folder / f"{name}-{stage}.png", pixels)
        if trainer.logger is not None:
            writer: SummaryWriter = trainer.logger.experiment  # type: ignore[attr-defined]
            # Not add_figure, which goes through pyplot and so through state that all of the process shares.
            writer.add_image(f"pictures/{name}", pixels, trainer.global_step, dataformats="HWC")


def _callback(trainer: Trainer, kind: type[Found]) -> Found:
    return next(each for each in trainer.callbacks if isinstance(each, kind))  # type: ignore[attr-defined]


def write_picture(path: Path, figure: Figure) -> None:
    """A PNG file, whole or not at all; its folder is made."""
    write_pixels(path, rendered(figure))


def write_pixels(path: Path, pixels: np.ndarray) -> None:
    """The same of uint8 (H, W, 3)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    Image.fromarray(pixels).save(part, format="PNG")
    part.replace(path)


def rendered(figure: Figure) -> np.ndarray:
    """A figure as uint8 (H, W, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def spread(n: int, most: int) -> np.ndarray:
    """At most ``most`` of the places 0 … n-1, evenly spread; int64."""
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).round().astype(int)


def plain(name: str, most: int = 26) -> str:
    """A name on one line, cut to ``most`` characters, in which Matplotlib sees no mathematics."""
    name = " ".join(name.split())
    return (name if len(name) <= most else name[: most - 1] + "…").replace("$", r"\$")


def set_name(target: np.ndarray, labels: list[str]) -> str:
    """A label set (L,) as text: its labels joined by ``+``, or ``none``."""
    return "+".join(" ".join(labels[j].split()) for j in np.flatnonzero(target)) or "none"


# The grid of images


def choose_rows(target: np.ndarray, most: int) -> np.ndarray:
    """Places of at most ``most`` rows of ``target`` (n, L): one that carries each label, and others spread evenly.

    A function of the targets alone, so that every stage and every resumed run shows the same images.
    """
    n, labels = target.shape
    chosen: list[int] = []
    for label in range(labels):
        carriers = np.setdiff1d(np.flatnonzero(target[:, label]), chosen)
        if len(carriers) and len(chosen) < most:
            chosen.append(int(carriers[len(carriers) * label // labels]))
    others = np.setdiff1d(np.arange(n), chosen)
    return np.sort(np.concatenate([np.array(chosen, int), others[spread(len(others), most - len(chosen))]]))


def verdict(target: np.ndarray, known: np.ndarray, predicted: np.ndarray, labels: list[str]) -> Words:
    """What is right and wrong in one image's predicted labels; all (L,).

    Returns:
        Text and colour, label by label: ``sea`` hit, ``−sea`` missed, ``+sea`` extra, ``?sea`` predicted where nobody
        said whether it applies.
    """
    target, predicted = target.astype(bool), predicted.astype(bool)
    kinds = (
        ("", HIT, target & predicted & known),
        ("−", MISSED, target & ~predicted & known),
        ("+", EXTRA, ~target & predicted & known),
        ("?", UNKNOWN, predicted & ~known),
    )
    words = [(sign + plain(labels[j]), colour) for sign, colour, where in kinds for j in np.flatnonzero(where)]
    return words or [("none", HIT)]


def in_lines(words: Words, width: int = 24, most: int = 4) -> list[Words]:
    """Words in lines of at most ``width`` characters where a word allows it, cut with ``…`` after ``most`` lines."""
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


def draw_predictions(pixels: Pixels, rows: dict[str, np.ndarray], labels: list[str], rule: str, title: str) -> Figure:
    """Some images of a part, with their hits, misses and extras.

    Args:
        pixels: images of the data set.
        rows: ``predictions`` of :class:`Evaluation`: index, scores, target, known.
        labels: the L names.
        rule: of :func:`retdm.criteria.decide`.
    """
    predicted = decide(rows["scores"], rule, Evaluation.threshold_on(rows))
    places = choose_rows(rows["target"] * rows["known"], SHOWN)
    captions = [in_lines(verdict(rows["target"][i], rows["known"][i], predicted[i], labels)) for i in places]
    columns = min(COLUMNS, len(places))
    height = -(-len(places) // columns)
    # In inches: the head, and a cell of an image with its caption.
    head, side, gap, caption = 0.75, 2.1, 0.15, 0.12 + 0.19 * max(len(lines) for lines in captions)
    width, total = max(columns, 2) * (side + gap) + gap, head + height * (side + caption) + gap
    figure = Figure(figsize=(width, total), dpi=120)
    figure.text(0.5, 1 - 0.14 / total, title, size=12, ha="center", va="top")
    key = [[("hit", HIT), ("−missed", MISSED), ("+extra", EXTRA)]]
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


# Heat maps


def draw_heat_maps(method: Method, data: ImageData, part: str, title: str) -> Figure:
    """A few images of a part and where the method, which scores regions, sees each of their labels."""
    rows = data.parts[part]
    targets = data.source.targets[rows] * data.source.known[rows]
    places = choose_rows(targets, HEATED)
    columns = 1 + min(HEATS, max(1, int(targets[places].sum(1).max())))
    gap, caption = 0.08, 0.14  # in sides of an image, as all that follows
    width, height = gap + columns * (1 + gap), len(places) * (1 + caption) + gap
    side, head = 2.2, 0.4  # in inches
    total = side * height + head
    figure = Figure(figsize=(max(side * width, 6), total))
    figure.suptitle(title, size=12, y=1 - 0.12 / total)
    # One axes for all: to make and to draw one for each picture takes most of a second.
    axes = figure.add_axes((0, 0, 1, side * height / total))
    axes.set_axis_off()
    for row, (target, (index, scores)) in enumerate(
        zip(targets[places], scored(method, data, rows[places]), strict=True)
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
            name = f"{plain(method.labels[label], 18)}  ≤ {heat.max():.2f}"
            axes.text(left + 0.5, top - 0.03, name, size=8, ha="center", va="bottom")
    axes.set(xlim=(-gap, width - gap), ylim=(height, 0))  # imshow moved them
    return figure


# Precision-recall curves


def draw_curves(rows: dict[str, np.ndarray], labels: list[str], title: str) -> Figure:
    """The precision-recall curve of each label that has a positive among its known cells, best first in the legend."""
    scores, target, known = rows["scores"], rows["target"], rows["known"].astype(bool)
    values = label_average_precision(scores, target, known)
    order = [int(j) for j in np.argsort(-values, kind="stable") if not np.isnan(values[j])]
    if not order:
        raise ValueError("no label has a positive image in the validation part")
    named = order if len(order) <= NAMED_CURVES else [*order[: NAMED_CURVES // 2], *order[-NAMED_CURVES // 2 :]]
    figure = Figure(figsize=(7.6, 5.0), dpi=120)
    axes = figure.add_axes((0.085, 0.11, 0.59, 0.79))
    handles, texts = [], []
    for j in order:
        rows_known = known[:, j]
        precision, recall, _ = precision_recall_curve(target[rows_known, j], scores[rows_known, j])
        hit = recall > 0  # before the first positive there is no step
        recall, precision = np.append(recall[hit], 0.0), np.append(precision[hit], precision[hit][-1])
        style: dict[str, Any] = {"color": "#dddddd", "linewidth": 1, "zorder": 1}
        if j in named:
            turn, colour = divmod(named.index(j), len(COLOURS))
            style = {"color": COLOURS[colour], "linestyle": DASHES[turn], "linewidth": 1.8}
        (line,) = axes.plot(recall, precision, drawstyle="steps-post", **style)
        if j in named:
            handles.append(line)
            texts.append(f"{values[j]:.3f}  {plain(labels[j], 22)}")
    axes.set(xlim=(-0.01, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{title}: mAP {np.nanmean(values):.3f}", size=12, y=0.97)
    heading = "average precision"
    if len(named) < len(order):
        heading += f"\n{NAMED_CURVES // 2} best, {NAMED_CURVES // 2} worst of {len(order)}"
    if len(order) < len(labels):
        heading += f"\n{len(labels) - len(order)} without an image"
    figure.legend(
        handles, texts, title=heading, loc="upper left", bbox_to_anchor=(0.685, 0.91), frameon=False, fontsize=9
    )
    return figure


# The shared embedding


class Space(NamedTuple):
    """Points of the embedding space. Letters: n images, U label sets, most frequent first.

    Attributes:
        images: float32 (n, D).
        image_names: label set of each image; ``?`` ends it where cells are unknown.
        sets: float32 (U, D).
        set_names: as text.
    """

    images: np.ndarray
    image_names: list[str]
    sets: np.ndarray
    set_names: list[str]


def embed(method: Any, data: ImageData) -> Space:
    """Images of the validation part and the distinct label sets of the training part, at most ``POINTS`` of each.

    This process computes it alone: nothing is gathered, no loader and no random number is used, and the method is left
    in the mode it came in.
    """
    source = data.source
    rows = data.parts["validation"]
    rows = rows[spread(len(rows), POINTS)]
    train = data.parts["train"]
    complete = train[source.known[train].all(axis=1)]
    targets, counts = np.unique(source.targets[complete], axis=0, return_counts=True)
    targets = targets[np.argsort(-counts, kind="stable")][:POINTS]
    images, names = [], []
    with evaluating(method):
        for batch in data.batches_of(rows):
            images.append(method.image_net(method.normalised(batch.image.to(method.device))).float().cpu())
            for target, known in zip(batch.target.numpy(), batch.known.numpy(), strict=True):
                names.append(set_name(target, data.labels) + ("" if known.all() else "?"))
        sets = method.label_net(torch.from_numpy(targets).float().to(method.device)).float().cpu()
    set_names = [set_name(target, data.labels) for target in targets]
    return Space(torch.cat(images).numpy(), names, sets.numpy(), set_names)


def write_projector(folder: Path, stage: str, stages: Sequence[str], space: Space) -> None:
    """Files of TensorBoard's projector, a tensor a stage.

    Not ``SummaryWriter.add_embedding``: its list of tensors lives in the writer, so a resumed run would drop the stages
    before it, and it lists one twice whose end is repeated. Here the list is that of the files that are there.

    Args:
        folder: TensorBoard's.
        stage: whose embedding this is, one of ``stages``.
    """
    (folder / "projector").mkdir(parents=True, exist_ok=True)
    points = np.concatenate([space.images, space.sets])
    metadata = [("image", name) for name in space.image_names] + [("label set", name) for name in space.set_names]
    for kind, lines in (
        ("metadata", ["kind\tlabel set", *("\t".join(row) for row in metadata)]),
        ("tensors", ["\t".join(f"{value:.5g}" for value in row) for row in points]),
    ):
        path = folder / "projector" / f"{kind}-{stage}.tsv"
        part = path.with_name(path.name + ".part")
        part.write_text("\n".join(lines) + "\n")
        part.replace(path)
    config = projector.ProjectorConfig()
    for name in reversed(stages):  # the projector opens with the first
        if (folder / "projector" / f"tensors-{name}.tsv").exists():
            config.embeddings.add(
                tensor_name=name,
                tensor_path=f"projector/tensors-{name}.tsv",
                metadata_path=f"projector/metadata-{name}.tsv",
            )
    projector.visualize_embeddings(str(folder), config)


def draw_embedding(space: Space, title: str) -> Figure:
    """The two directions in which images and label sets vary most; an image has the colour of its label set."""
    pca = PCA(2, svd_solver="full")
    images, sets = np.split(pca.fit_transform(np.concatenate([space.images, space.sets])), [len(space.images)])
    colour = dict(zip(space.set_names, COLOURS, strict=False))
    dots, stars = ([colour.get(name, OTHER) for name in names] for names in (space.image_names, space.set_names))
    figure = Figure(figsize=(8.4, 6.4), dpi=120)
    axes = figure.add_axes((0.08, 0.09, 0.89, 0.81))
    axes.scatter(images[:, 0], images[:, 1], s=16, alpha=0.6, linewidths=0, c=dots)
    axes.scatter(sets[:, 0], sets[:, 1], s=130, marker="*", edgecolors="white", linewidths=0.8, zorder=3, c=stars)
    first, second = 100 * pca.explained_variance_ratio_
    axes.set(xlabel=f"first principal axis ({first:.0f} % of the variance)", ylabel=f"second ({second:.0f} %)")
    axes.margins(0.13, 0.08)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, size=12, y=0.975)
    key = "●  image, in the colour of its label set      ★  label set"
    others = "      grey: rarer sets" if OTHER in dots + stars else ""
    axes.set_title(key + others, size=9.5, color="#444444")
    _annotate(figure, sets[:NAMED_SETS], space.set_names[:NAMED_SETS])
    return figure


def _annotate(figure: Figure, places: np.ndarray, names: list[str]) -> None:
    """Each name beside its place, at the nearest spot where it covers neither another place nor another name."""
    (axes,) = figure.axes
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()  # fixes the limits that boxes are measured in
    star = 5 * figure.dpi / 72  # pixels from its middle to its points
    taken = [Bbox.from_extents(x - star, y - star, x + star, y + star) for x, y in axes.transData.transform(places)]
    for place, name in zip(places, names, strict=True):
        for dx, dy in ((x * r, y * r) for r in (7, 13, 20, 28) for y in (0, 1, -1) for x in (1, -1)):
            text = axes.annotate(plain(name, 40), place, (dx, dy), textcoords="offset points", size=9.5, zorder=4)
            text.set(ha="left" if dx > 0 else "right", va="center", color="#222222")
            text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
            box = text.get_window_extent(renderer)
            if axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) and not box.count_overlaps(taken):
                taken.append(box)
                break
            text.remove()  # and where there is no room at all, none: a name that cannot be read helps nobody
