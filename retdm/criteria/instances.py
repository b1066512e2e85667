"""Which instance carries a label: criteria of instances' scores against their truth.

Notation: P instances of a bag, or pixels of an image; L labels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

INSTANCE_CRITERIA: tuple[str, ...] = ("instance_average_precision", "pointing_accuracy", "instance_iou")
"""Every criterion of instances, in the order of reports; the larger the better."""


def evaluate_instances(
    scores: Sequence[NDArray[np.floating]], truth: Sequence[NDArray[np.bool_]], known: Sequence[NDArray[np.bool_]]
) -> dict[str, float | None]:
    """How well instances are told apart inside bags whose labels are known.

    ``instance_average_precision``: average precision of each label over all instances of all bags, mean over labels
    with a positive. ``pointing_accuracy``: share of a bag's labels whose highest instance, at a tie the first, carries
    the label. ``instance_iou``: of each bag and label that some instance carries, intersection over union of these and
    the instances that score at least half the bag's highest for the label; mean.

    Args:
        scores: of each bag (P, L), from 0 up.
        truth: of each bag (P, L).
        known: of each bag (P,); instances that nobody judged count nowhere.

    Returns:
        Value by name; None where no instance carries a label.
    """
    pointed, overlap = [], []
    rows, marks = [], []
    for score, true, judged in zip(scores, truth, known, strict=True):
        score, true = score[judged], true[judged]
        rows.append(score)
        marks.append(true)
        for label in np.flatnonzero(true.any(axis=0)):
            own, carried = score[:, label], true[:, label]
            pointed.append(bool(carried[own.argmax()]))
            chosen = own >= own.max() / 2
            overlap.append((chosen & carried).sum() / (chosen | carried).sum())
    if not pointed:
        return dict.fromkeys(INSTANCE_CRITERIA)
    values, targets = np.concatenate(rows), np.concatenate(marks)
    found = [average_precision_score(targets[:, j], values[:, j]) for j in np.flatnonzero(targets.any(axis=0))]
    numbers = (np.mean(found), np.mean(pointed), np.mean(overlap))
    return dict(zip(INSTANCE_CRITERIA, map(float, numbers), strict=True))
