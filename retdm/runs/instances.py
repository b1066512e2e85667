"""Criteria of a method's scores of instances, where the data knows the labels of instances."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from retdm.criteria import evaluate_instances
from retdm.data.base_module import Data
from retdm.data.modules import BagData, ImageData
from retdm.data.preparation import window
from retdm.methods.base import Method
from retdm.training.regions import SIDE, instance_scores


def evaluate_instances_of(method: Method, data: Data) -> dict[str, float | None]:
    """Criteria of the test split's instances by name; none where the method does not score instances or the data does
    not know their labels.

    An image has ``SIDE`` x ``SIDE`` pixels. A pixel has a label where at least half of it does; pixels that the data
    leaves void count nowhere.
    """
    source: Any = data.source
    if not (method.scores_instances and source.knows_instances):
        return {}
    scores, targets, known = [], [], []
    for index, found in instance_scores(method, data, data.splits["test"]):
        if isinstance(data, BagData):
            target = source.instance_targets[source.offsets[index] : source.offsets[index + 1]] > 0
            counts = np.ones(len(target), bool)
        else:
            assert isinstance(data, ImageData)
            masks = source.masks(index)
            left, top, right, bottom = window((masks.shape[2], masks.shape[1]), data.preparation.crop)
            share = _shares(masks[:, top:bottom, left:right])
            target = share >= 0.5
            counts = share.sum(1) >= 0.5 if source.has_void else np.ones(len(target), bool)
        scores.append(found)
        targets.append(target)
        known.append(counts)
    return evaluate_instances(scores, targets, known)


def _shares(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The share of each of ``SIDE`` x ``SIDE`` pixels that has a label: masks (L, H, W) -> (P, L)."""
    shares = np.zeros((len(masks), SIDE * SIDE), np.float32)
    there = masks.any(axis=(1, 2))  # few labels are, and their masks are large
    shares[there] = F.adaptive_avg_pool2d(torch.from_numpy(masks[there]).float(), SIDE).flatten(1)
    return shares.T
