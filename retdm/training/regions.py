"""What a method says of an image's regions, or of a bag's instances."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from torch import Tensor
from torch.nn import functional as F

from retdm.backbones.base import evaluating
from retdm.batch import Batch
from retdm.data.module import Data, ImageData
from retdm.methods.base import Method

SIDE = 56  # of the maps on which images are judged and drawn, in pixels
FADES = 6.0  # log odds between the brightest region of a map and a black one: odds of 400 to 1


def region_maps(method: Method, batch: Batch) -> Tensor:
    """Scores of a square of regions that together are the whole image, (B, L, h, h) in [0, 1]; normalised images."""
    found: Tensor = method.instance_scores(batch).float()  # type: ignore[operator]
    side = round(found.shape[1] ** 0.5)
    maps: Tensor = found.transpose(1, 2).unflatten(2, (side, side))
    return maps


def brightness(scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """A map of scores in [0, 1] as it is drawn: 1 where they are highest, falling with their log odds to 0.

    Not the scores themselves, which are near 1 all over an image where a pooling averages, and would tell nothing.
    """
    odds = logit(np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6))
    shown: NDArray[np.float64] = np.clip(1 + (odds - odds.max()) / FADES, 0, 1)
    return shown


def scored(method: Method, data: Data, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Some bags or images, each with scores (P, L) of its instances, or of its ``SIDE`` x ``SIDE`` pixels row by row
    (bilinear between the regions that the method sees).

    This process computes them alone: no loader and no random number is used, and the method is left in the mode it
    came in.
    """
    for batch in data.batches_of(rows):
        with evaluating(method):  # ends before a pair is given away: what its taker computes is no business of ours
            batch = method.prepared(batch)
            of_image = isinstance(data, ImageData)
            found = region_maps(method, batch) if of_image else method.instance_scores(batch).float()  # type: ignore[operator]
        for i, index in enumerate(batch.index.tolist()):
            if of_image:  # one by one: of many labels a batch would take gigabytes
                scores = F.interpolate(found[i : i + 1], (SIDE, SIDE), mode="bilinear")[0].flatten(1).T
            else:
                scores = found[i][batch.mask[i].bool()]
            yield index, scores.cpu().numpy()
