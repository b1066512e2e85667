"""Which instance carries a label: a method's scores of instances, judged against the data's truth and drawn."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch.nn import functional as F

from retdm.criteria import evaluate_instances
from retdm.data.module import BagData, Data, ImageData
from retdm.methods.base import Method
from retdm.training.pictures import choose_rows, plain

SIDE = 56  # of the maps on which images are judged, in pixels
SHOWN, LABELS = 10, 4  # images of the picture, and labels of each


def scored(method: Method, data: Data, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Some bags or images, each with scores (P, L) of its instances, or of its ``SIDE`` x ``SIDE`` pixels row by row
    (bilinear between the regions that the method sees). This process computes them alone."""
    training = method.training
    method.eval()
    try:
        with torch.inference_mode():
            for batch in data.batches_of(rows):
                batch = method.on_after_batch_transfer(type(batch)(*(column.to(method.device) for column in batch)), 0)
                found = method.instance_scores(batch).float()  # type: ignore[operator]
                if isinstance(data, ImageData):
                    side = round(found.shape[1] ** 0.5)
                    maps = found.transpose(1, 2).unflatten(2, (side, side))
                    maps = F.interpolate(maps, (SIDE, SIDE), mode="bilinear")
                    found, masks = maps.flatten(2).transpose(1, 2), torch.ones(len(maps), SIDE * SIDE)
                else:
                    masks = batch.mask
                for index, scores, mask in zip(batch.index.tolist(), found.cpu(), masks.bool().cpu(), strict=True):
                    yield index, scores[mask].numpy()
    finally:
        method.train(training)


def heat_maps(method: Method, data: Data) -> Figure | None:
    """A few test images and where the method sees each of their labels; None where it cannot tell, or of bags."""
    if not (method.scores_instances and isinstance(data, ImageData)):
        return None
    rows = data.parts["test"]
    rows = rows[choose_rows(data.source.targets[rows] * data.source.known[rows], SHOWN)]
    figure = Figure(figsize=(2.2 * (1 + LABELS), 2.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1 + LABELS, squeeze=False)
    for line, (index, scores) in zip(axes, scored(method, data, rows), strict=True):
        pixels = np.asarray(data.images[index])
        side = len(pixels)
        own = np.flatnonzero(data.source.targets[index])[:LABELS]
        for axis in line:
            axis.axis("off")
        line[0].imshow(pixels)
        for axis, label in zip(line[1:], own, strict=False):
            axis.imshow(pixels)
            heat = scores[:, label].reshape(SIDE, SIDE)
            axis.imshow(heat, cmap="inferno", vmin=0, alpha=0.65, extent=(0, side, side, 0))
            axis.set_title(f"{plain(method.labels[label], 18)}  ≤ {heat.max():.2f}", fontsize=8)
    return figure


def judge_instances(method: Method, data: Data) -> dict[str, float | None]:
    """Criteria of the test part's instances by name; none where the method or the data cannot tell.

    An image's pixels are ``SIDE`` x ``SIDE``, each of a label where at least half of it is; those that its truth leaves
    void count nowhere.
    """
    source: Any = data.source
    has_truth = hasattr(source, "masks") or getattr(source, "instance_targets", None) is not None
    if not (method.scores_instances and has_truth):
        return {}
    scores, truth, known = [], [], []
    for index, found in scored(method, data, data.parts["test"]):
        if isinstance(data, BagData):
            marks = source.instance_targets[source.offsets[index] : source.offsets[index + 1]] > 0
            judged = np.ones(len(marks), bool)
        else:
            masks = torch.from_numpy(source.masks(index)).float()
            share = F.adaptive_avg_pool2d(masks, SIDE).flatten(1).T.numpy()
            marks = share >= 0.5
            judged = share.sum(1) >= 0.5 if source.has_void else np.ones(len(marks), bool)
        scores.append(found)
        truth.append(marks)
        known.append(judged)
    return evaluate_instances(scores, truth, known)
