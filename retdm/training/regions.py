"""A method's scores of an image's regions, or of a bag's instances."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from torch import Tensor
from torch.nn import functional as F

from retdm.batch import Batch, FeatureBatch
from retdm.data.base_module import Data
from retdm.data.modules import ImageData
from retdm.methods.base import Method
from retdm.training.inference import infer

SIDE = 56  # of the maps on which images are evaluated and drawn, in pixels
FADES = 6.0  # log odds between the brightest region of a map and a black one: odds of 400 to 1


def region_maps(method: Method, batch: Batch | FeatureBatch) -> Tensor:
    """Scores (B, L, h, h) in [0, 1] of a square of regions that together are the whole image.

    Args:
        method: which ``scores_instances``.
        batch: normalised images, or features.
    """
    found: Tensor = method.instance_scores(batch).float()
    side = round(found.shape[1] ** 0.5)
    maps: Tensor = found.transpose(1, 2).unflatten(2, (side, side))
    return maps


def brightness(scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """A map of scores in [0, 1] as it is drawn: 1 where they are highest, falling with their log odds to 0.

    Not the scores themselves: where a pooling averages they are near 1 all over an image.
    """
    odds = logit(np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6))
    shown: NDArray[np.float64] = np.clip(1 + (odds - odds.max()) / FADES, 0, 1)
    return shown


def instance_scores(method: Method, data: Data, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Scores of the instances of some bags, or of the ``SIDE`` x ``SIDE`` pixels of some images.

    This process computes them alone: no loader and no random number is used.

    Yields:
        A row's place in the data set, and scores (P, L) in [0, 1]; an image's row by row, bilinear between the regions
        that the method scores. Precomputed features of whole images have no regions, and images take their place.
    """
    if isinstance(data, ImageData):
        if data.features is not None and data.features.ndim == 2:
            data = data.with_images()
        for batch, maps in infer(method, data.batches_of(rows), partial(region_maps, method)):
            for i, index in enumerate(batch.index.tolist()):
                # One by one: of many labels a batch would take gigabytes.
                pixels = F.interpolate(maps[i : i + 1], (SIDE, SIDE), mode="bilinear")[0].flatten(1).T
                yield index, pixels.cpu().numpy()
        return
    for batch, found in infer(method, data.batches_of(rows), method.instance_scores):
        for index, scores, mask in zip(batch.index.tolist(), found.float(), batch.mask.bool(), strict=True):
            yield index, scores[mask].cpu().numpy()
