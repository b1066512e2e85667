"""What a method says of an image's regions, or of a bag's instances."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from retdm.backbones.base import evaluating
from retdm.batch import Batch
from retdm.data.module import Data, ImageData
from retdm.methods.base import Method

SIDE = 56  # of the maps on which images are judged and drawn, in pixels


def region_maps(method: Method, batch: Batch) -> Tensor:
    """Scores of a square of regions that together are the whole image, (B, L, h, h) in [0, 1]; normalised images."""
    found: Tensor = method.instance_scores(batch).float()  # type: ignore[operator]
    side = round(found.shape[1] ** 0.5)
    maps: Tensor = found.transpose(1, 2).unflatten(2, (side, side))
    return maps


def scored(method: Method, data: Data, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Some bags or images, each with scores (P, L) of its instances, or of its ``SIDE`` x ``SIDE`` pixels row by row
    (bilinear between the regions that the method sees).

    This process computes them alone: no loader and no random number is used, and the method is left in the mode it
    came in.
    """
    for batch in data.batches_of(rows):
        with evaluating(method):  # ends before a pair is given away: what its taker computes is no business of ours
            batch = method.on_after_batch_transfer(type(batch)(*(column.to(method.device) for column in batch)), 0)
            if isinstance(data, ImageData):
                maps = F.interpolate(region_maps(method, batch), (SIDE, SIDE), mode="bilinear")
                found, masks = maps.flatten(2).transpose(1, 2), torch.ones(len(maps), SIDE * SIDE)
            else:
                found, masks = method.instance_scores(batch).float(), batch.mask  # type: ignore[operator]
        for index, scores, mask in zip(batch.index.tolist(), found.cpu(), masks.bool().cpu(), strict=True):
            yield index, scores[mask].numpy()
