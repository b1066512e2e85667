"""Images that a run leaves in its folder: test images that were decided worst, and the training images nearest to them.

Notation: N rows, Q queries, F features.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retdm import criteria
from retdm.data.modules import ImageData
from retdm.decisions import decide
from retdm.files import all_or_none, write_json
from retdm.runs.folder.paths import RunFolder
from retdm.training.pictures.images import choose_rows

SHOWN, MISTAKES, SIDE = 6, 48, 224  # images, and pixels of the longer side
AT_ONCE = 32_000_000  # numbers of features that are read at once
NEAREST, SMALL = 3, 96  # training images beside a mistake, and pixels of their longer side

log = logging.getLogger("retdm")


def write_mistakes(folder: RunFolder, data: Any, rows: dict[str, np.ndarray], decision: Mapping[str, Any]) -> None:
    """The test images that were decided worst as ``pictures/mistakes/<index>.jpg``, for the page of the run.

    Where the data has features of a frozen backbone, the training images whose features are nearest to theirs lie
    beside them as ``near-<index>.jpg``, and ``nearest.json`` has their names and labels.

    Nothing where the data has no images. What fails is a warning, never a stop.
    """
    if not isinstance(data, ImageData):
        return
    try:
        predicted = decide(rows["scores"], decision["rule"], decision["threshold"])
        worst = criteria.worst_decisions(rows["scores"], rows["target"], rows["known"], predicted, MISTAKES)
        indices = rows["index"][worst]
        folder.pictures.mkdir(exist_ok=True)
        _write_images({folder.mistakes / f"{index}.jpg": index for index in indices}, data, SIDE)
        if data.features is not None and len(indices):
            _write_nearest(folder, data, indices)
    except Exception as error:
        log.warning("the pictures of the worst mistakes failed: %s: %s", type(error).__name__, error)
        log.debug("where it failed", exc_info=True)


def _write_nearest(folder: RunFolder, data: ImageData, indices: np.ndarray) -> None:
    assert data.features is not None
    train = np.sort(data.splits["train"])
    places, distances = nearest_rows(data.features, indices, train, NEAREST)
    known = data.source.targets.astype(bool) & data.source.known
    content = {
        str(index): [
            {
                "index": int(row),
                "name": data.source.ids[row],
                "distance": float(distance),
                "labels": [data.labels[j] for j in np.flatnonzero(known[row])],
            }
            for row, distance in zip(own, far, strict=True)
        ]
        for index, own, far in zip(indices, places, distances, strict=True)
    }
    _write_images({folder.mistakes / f"near-{row}.jpg": row for row in np.unique(places)}, data, SMALL)
    write_json(folder.nearest, content)


def write_shown(folder: RunFolder, data: Any, rows: dict[str, np.ndarray]) -> None:
    """A few test images as ``pictures/test-<index>.jpg``, for a report that explains their scores.

    Args:
        data: a set of images.
        rows: index, target and known of the test split.
    """
    indices = rows["index"][choose_rows(rows["target"] * rows["known"], SHOWN)]
    _write_images({folder.pictures / f"test-{index}.jpg": index for index in indices}, data, SIDE)


def _write_images(indices: Mapping[Path, int], data: Any, side: int) -> None:
    with all_or_none(list(indices)) as parts:
        for part, index in zip(parts, indices.values(), strict=True):
            image = Image.fromarray(np.array(data.images[int(index)]))
            image.thumbnail((side, side))
            image.save(part, format="JPEG", quality=85)


def nearest_rows(
    features: Any, queries: NDArray[np.int64], among: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the rows whose features are nearest by Euclidean distance, each feature brought to mean 0 and deviation 1.

    Args:
        features: (N, F), or maps (N, F, h, w) of which the mean over places is taken; read some rows at a time.
        queries: int64 (Q,) rows.
        among: int64 (n,) rows among which it looks, at least one; mean and deviation are theirs.
        k: so many of each at most.

    Returns:
        Rows int64 (Q, k or n), the nearest first, at a tie the first of ``among``, and their distances divided by
        sqrt(F), so that 1 is a usual difference in every feature.
    """
    step = max(1, AT_ONCE // int(np.prod(features.shape[1:])))
    blocks = [among[start : start + step] for start in range(0, len(among), step)]
    total, squares = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for block in blocks:
        values = _pooled(features[block])
        total += values.sum(axis=0)
        squares += np.square(values).sum(axis=0)
    mean = total / len(among)
    deviation = np.sqrt(np.maximum(squares / len(among) - mean**2, 0))
    deviation[deviation <= 1e-6 * np.abs(mean) + 1e-12] = 1  # a feature that never changes
    wanted = (_pooled(features[queries]) - mean) / deviation
    distances = np.empty((len(queries), len(among)))
    for place, block in enumerate(blocks):
        values = (_pooled(features[block]) - mean) / deviation
        found = (wanted**2).sum(1)[:, None] - 2 * wanted @ values.T + (values**2).sum(1)
        distances[:, place * step : place * step + len(block)] = np.maximum(found, 0)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return among[order], np.sqrt(np.take_along_axis(distances, order, axis=1) / features.shape[1])


def _pooled(values: NDArray[Any]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values.astype(np.float64)
    return found if found.ndim == 2 else found.reshape(*found.shape[:2], -1).mean(axis=2)
