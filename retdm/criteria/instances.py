"""Criteria of the scores of instances (or pixels) against their own labels.

Notation: P instances of a bag, or pixels of an image; L labels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

INSTANCE_CRITERIA: tuple[str, ...] = ("instance_average_precision", "pointing_accuracy", "instance_iou")
"""Every criterion of instances, in the order of reports; the larger the better."""


def evaluate_instances(
    scores: Sequence[NDArray[np.floating]], truth: Sequence[NDArray[np.bool_]], known: Sequence[NDArray[np.bool_]]
) -> dict[str, float | None]:
    """Compute the criteria of instance scores inside bags.

    ``instance_average_precision``: average precision of each label over all instances of all bags, mean over labels
    with a positive. ``pointing_accuracy``: share of a bag's labels whose highest instance, at a tie the first, has
    the label. ``instance_iou``: mean over bags and their labels of intersection over union, between the instances
    that have the label and those that score at least half the bag's highest for it.

    Args:
        scores: of each bag (P, L), from 0 up.
        truth: of each bag (P, L).
        known: of each bag (P,); an instance of unknown labels counts nowhere.

    Returns:
        Value by name; None where no instance has a label.
    """
    pointed, overlap = [], []
    rows, targets = [], []
    for score, true, is_known in zip(scores, truth, known, strict=True):
        score, true = score[is_known], true[is_known]
        rows.append(score)
        targets.append(true)
        for label in np.flatnonzero(true.any(axis=0)):
            own, positive = score[:, label], true[:, label]
            pointed.append(bool(positive[own.argmax()]))
            chosen = own >= own.max() / 2
            overlap.append((chosen & positive).sum() / (chosen | positive).sum())
    if not pointed:
        return dict.fromkeys(INSTANCE_CRITERIA)
    values, positive = np.concatenate(rows), np.concatenate(targets)
    found = [_average_precision(values[:, j], positive[:, j]) for j in np.flatnonzero(positive.any(axis=0))]
    numbers = (np.mean(found), np.mean(pointed), np.mean(overlap))
    return dict(zip(INSTANCE_CRITERIA, map(float, numbers), strict=True))


def _average_precision(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """:func:`retdm.criteria.mean_average_precision.label_average_precision` of one label, for millions of instances.

    The mean, over the positives, of the precision among all instances that score at least as high.
    """
    highest = np.sort(scores[positive])
    among_all, among_positives = (len(each) - np.searchsorted(each, highest) for each in (np.sort(scores), highest))
    return float(np.mean(among_positives / among_all))
