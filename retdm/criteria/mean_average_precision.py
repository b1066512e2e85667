"""Average precision of each label over the images, and its mean (mAP). Notation: n images, L labels."""

import numpy as np
from numpy.typing import ArrayLike

from retdm.criteria.arrays import Floats, mean
from retdm.criteria.ranking import precision_at_relevant, ranks


def label_average_precision(scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> Floats:
    """Compute the average precision of each label, the area under its precision-recall steps without interpolation.

    Σ over thresholds of (R_t − R_{t−1}) · P_t is the mean, over the label's positives, of the precision among all
    images scored at least as high: the ranking of `ranking.ranks` with images and labels exchanged.

    Ties: images of one score are taken in together, as in scikit-learn's ``average_precision_score``. Empty rows:
    negatives as any other. Absent classes: NaN. Without negatives: 1. Unknown cells are left out of their label.

    Args:
        scores: (n, L) in [0, 1].
        target: (n, L) {0, 1}.
        known: (n, L) bool.

    Returns:
        (L,) float64.

    Raises:
        ValueError: scores outside [0, 1] or NaN, shapes that differ.
    """
    return precision_at_relevant(ranks(np.transpose(scores), np.transpose(target), np.transpose(known)))


def mean_average_precision(label_values: Floats) -> float | None:
    """mAP: mean of `label_average_precision` over the labels that have a positive; None where none has.

    Ties, empty rows, absent classes: as there; an absent class is in no mean. Source: the un-interpolated form of
    PASCAL VOC 2010 and later (Everingham et al., IJCV 2015).
    """
    return mean(label_values)
