"""Ranking average precision, reported as ``average_precision``: of each image over its labels.

mAP, which averages over each label's images instead, is in `mean_average_precision`. Notation: n images, L labels.
"""

import numpy as np

from retdm.criteria.arrays import Floats, mean
from retdm.criteria.ranking import Ranks, precision_at_relevant


def average_precisions(r: Ranks) -> Floats:
    """(n,) of each row; NaN where it has no pair."""
    return np.where(r.has_pairs, precision_at_relevant(r), np.nan)


def average_precision(r: Ranks) -> float | None:
    """average_precision: mean over images of the mean, over the image's labels y, of the relevant labels ranked not
    below y ÷ the rank of y (label-ranking average precision).

    Ties: the greatest rank for all of them, scikit-learn's rule. Empty and full rows: left out. Absent classes:
    irrelevant labels as any other. Source: Schapire & Singer, Machine Learning 39, 2000.
    """
    return mean(average_precisions(r))
