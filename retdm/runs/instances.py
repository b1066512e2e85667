"""Which instance carries a label: a method's scores of instances, judged against the data's truth."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from retdm.criteria import evaluate_instances
from retdm.data.module import BagData, Data
from retdm.methods.base import Method
from retdm.training.regions import SIDE, scored


def evaluate_instances_of(method: Method, data: Data) -> dict[str, float | None]:
    """Criteria of the test part's instances by name; none where the method or the data cannot tell.

    An image's pixels are ``SIDE`` x ``SIDE``, each of a label where at least half of it is; those that its truth leaves
    void count nowhere.
    """
    source: Any = data.source
    has_truth = hasattr(source, "masks") or getattr(source, "instance_targets", None) is not None
    if not (method.scores_instances and has_truth):
        return {}
    scores, truth, known = [], [], []
    for index, found in scored(method, data, data.splits["test"]):
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
