"""The embedding space of images, and of label sets where a method has a net for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from retdm.backbones.base import evaluating
from retdm.data.base_module import Data
from retdm.display.figure_text import label_names
from retdm.files import atomic
from retdm.methods.base import Method
from retdm.methods.deep import DeepMethod
from retdm.training.inference import infer
from retdm.training.pictures.images import spread
from retdm.training.pictures.labels import COLOURS

POINTS = 500  # images, and label sets
NAMED_SETS = 24
OTHER = "#999999"


class Space(NamedTuple):
    """Points of the embedding space. Notation: n images, U label sets of the training split, most frequent first.

    Attributes:
        images: float32 (n, D).
        image_targets: (n, L) their label sets.
        complete: bool (n,), True where all cells of an image are known.
        sets: float32 (U, D); (0, D) where the method has no net for label sets.
        set_targets: (U, L).
    """

    images: np.ndarray
    image_targets: np.ndarray
    complete: np.ndarray
    sets: np.ndarray
    set_targets: np.ndarray


def set_name(target: np.ndarray, names: Sequence[str]) -> str:
    """A label set (L,) as text: its labels joined by ``+``, or ``none``."""
    return "+".join(names[j] for j in np.flatnonzero(target).tolist()) or "none"


def embed(method: Method, data: Data, *, with_sets: bool) -> Space:
    """Images (or bags) of the validation split, and the distinct label sets of the training split, at most ``POINTS``
    of each.

    This process computes it alone: nothing is gathered, no loader and no random number is used.

    Args:
        with_sets: embed the label sets too, by the component ``label_net`` of a deep method.
    """
    source = data.source
    rows = data.splits["validation"]
    rows = rows[spread(len(rows), POINTS)]
    train = data.splits["train"]
    complete = train[source.known[train].all(axis=1)]
    targets, counts = np.unique(source.targets[complete], axis=0, return_counts=True)
    targets = targets[np.argsort(-counts, kind="stable")][:POINTS]
    images = [vectors.cpu() for _, vectors in infer(method, data.batches_of(rows), method.encoder)]
    points = torch.cat(images).numpy()
    sets = np.zeros((0, points.shape[1]), np.float32)
    if with_sets:
        label_net = cast(DeepMethod, method).components["label_net"]
        with evaluating(method):
            sets = label_net(torch.from_numpy(targets).float().to(method.device)).float().cpu().numpy()
    return Space(points, source.targets[rows], source.known[rows].all(axis=1), sets, targets)


def write_projector(folder: Path, stage: str, stages: Sequence[str], space: Space, labels: Sequence[str]) -> None:
    """Files of TensorBoard's projector, a tensor a stage.

    Not ``SummaryWriter.add_embedding``: its list of tensors lives in the writer, so a resumed run would drop the stages
    before it, and it lists one twice whose end is repeated. Here the list is that of the files that are there.

    Args:
        folder: TensorBoard's.
        stage: whose embedding this is, one of ``stages``.
        labels: names of the L labels.
    """
    names = [" ".join(label.split()) for label in labels]
    unknown = np.where(space.complete, "", "?")
    metadata = ["kind\tlabel set"]
    metadata += [f"image\t{set_name(t, names)}{end}" for t, end in zip(space.image_targets, unknown, strict=True)]
    metadata += [f"label set\t{set_name(target, names)}" for target in space.set_targets[: len(space.sets)]]
    points = np.concatenate([space.images, space.sets])
    for kind, lines in (
        ("metadata", metadata),
        ("tensors", ["\t".join(f"{value:.5g}" for value in row) for row in points]),
    ):
        with atomic(folder / "projector" / f"{kind}-{stage}.tsv") as part:
            part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    from tensorboard.plugins import projector

    config = projector.ProjectorConfig()
    for name in reversed(stages):  # the projector opens with the first
        if (folder / "projector" / f"tensors-{name}.tsv").exists():
            config.embeddings.add(
                tensor_name=name,
                tensor_path=f"projector/tensors-{name}.tsv",
                metadata_path=f"projector/metadata-{name}.tsv",
            )
    projector.visualize_embeddings(str(folder), config)


def draw_embedding(space: Space, labels: Sequence[str], title: str) -> Figure:
    """The two directions in which images and label sets vary most; an image has the colour of its label set.

    Where there are no points of label sets, the names stand at the means of their images.
    """
    from sklearn.decomposition import PCA  # takes a second, which no first batch should wait for

    pca = PCA(2, svd_solver="full")
    with np.errstate(invalid="ignore"):  # where all points are one
        points = pca.fit_transform(np.concatenate([space.images, space.sets]))
    images, sets = np.split(points, [len(space.images)])
    colour = dict(zip(map(np.ndarray.tobytes, space.set_targets), COLOURS, strict=False))
    label_sets = zip(space.image_targets, space.complete, strict=True)
    keys = [target.tobytes() if all_known else b"" for target, all_known in label_sets]
    dots = [colour.get(key, OTHER) for key in keys]
    figure = Figure(figsize=(8.4, 6.4), dpi=120)
    axes = figure.add_axes((0.08, 0.09, 0.89, 0.81))
    axes.scatter(images[:, 0], images[:, 1], s=16, alpha=0.6, linewidths=0, c=dots)
    key, stars = "●  image, in the colour of its label set", []
    if len(sets):
        stars = [colour.get(target.tobytes(), OTHER) for target in space.set_targets]
        axes.scatter(sets[:, 0], sets[:, 1], s=130, marker="*", edgecolors="white", linewidths=0.8, zorder=3, c=stars)
        key += "      ★  label set"
        at = list(zip(sets[:NAMED_SETS], space.set_targets, strict=False))
    else:
        of = {key: [i for i, other in enumerate(keys) if other == key] for key in colour}
        named = zip(space.set_targets, of.values(), strict=False)
        at = [(images[members].mean(axis=0), target) for target, members in named if members]
    if OTHER in dots + stars:
        key += "      grey: rarer sets"
    axes.set_title(key, size=9.5, color="#444444")
    first, second = 100 * np.nan_to_num(pca.explained_variance_ratio_)
    axes.set(xlabel=f"first principal axis ({first:.0f} % of the variance)", ylabel=f"second ({second:.0f} %)")
    axes.margins(0.13, 0.08)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, size=12, y=0.975)
    names = label_names(labels, 40)
    of_sets = [set_name(target, names) for _, target in at]
    shown_names = [name if len(name) <= 40 else f"{name[:39]}…" for name in of_sets]
    _annotate(figure, np.array([place for place, _ in at]), shown_names)
    return figure


def _annotate(figure: Figure, places: np.ndarray, names: list[str]) -> None:
    """Each name beside its place, at the nearest spot where it covers neither another place nor another name."""
    (axes,) = figure.axes
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()  # fixes the limits that boxes are measured in
    star = 5 * figure.dpi / 72  # pixels from its middle to its points
    taken = [
        Bbox.from_extents(x - star, y - star, x + star, y + star)
        for x, y in axes.transData.transform(places.reshape(-1, 2))
    ]
    for place, name in zip(places, names, strict=True):
        for dx, dy in ((x * r, y * r) for r in (7, 13, 20, 28) for y in (0, 1, -1) for x in (1, -1)):
            text = axes.annotate(name, place, (dx, dy), textcoords="offset points", size=9.5, zorder=4)
            text.set(ha="left" if dx > 0 else "right", va="center", color="#222222")
            text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
            box = text.get_window_extent(renderer)
            if axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) and not box.count_overlaps(taken):
                taken.append(box)
                break
            text.remove()  # where there is no room at all the name is left out
