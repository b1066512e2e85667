"""How suspicious each given label is, by scores of fits that did not see it. Notation: n images, L labels."""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ranking = Literal["odds", "self_confidence", "margin"]
RANKINGS: tuple[Ranking, ...] = get_args(Ranking)
SUREST = 1e-7  # the nearest to 0 or 1 that a score counts


def suspicion(scores: NDArray[Any], target: NDArray[Any], known: NDArray[Any], ranking: Ranking = "odds") -> Array:
    """The suspicion against each cell, the higher the likelier is its label wrong; above 0 it is suspicious.

    A cell's value v has the probability s_v: the score p where the label is given, 1 - p where it is not; w is the
    other value.

    ``odds``
        log(s_w / s_v) + ½ log(N_v / N_w), where N_v of all known cells have the value v. These are, but for a constant,
        the log-odds that the cell is an error where as many labels are missing as are wrong: then a cell without a
        label, of which there are N_v / N_w times as many, is as much less likely an error before it is scored.
    ``self_confidence``
        s_w - s_v, in [-1, 1].
    ``margin``
        (s_w - t_w) - (s_v - t_v), in [-2, 2]. Confident learning (Northcutt, Jiang and Chuang, JAIR 2021) measures each
        probability by the mean t_v of s_v over the label's cells of value v, because a score of .4 is much for one
        label and little for another.

    Args:
        scores: (n, L) in [0, 1], each of a fit that did not see its row.
        target: (n, L) of 0 and 1.
        known: (n, L); an unknown cell is treated like one without the label.
        ranking: one of the three.

    Returns:
        (n, L); NaN for a label whose known cells are all alike, which no fit can doubt.
    """
    p = np.asarray(scores, np.float64).clip(SUREST, 1 - SUREST)
    positive, negative = (target > 0) & known, (target == 0) & known
    counts = positive.sum(0), negative.sum(0)
    found: Array
    if ranking == "odds":
        share = np.log(max(counts[0].sum(), 1) / max(counts[1].sum(), 1)) / 2
        found = np.where(positive, -1, 1) * (np.log(p / (1 - p)) - share)
    else:
        found = np.where(positive, -1, 1) * (2 * p - 1)
    if ranking == "margin":
        of_positives = (p * positive).sum(0) / np.maximum(counts[0], 1)
        of_negatives = ((1 - p) * negative).sum(0) / np.maximum(counts[1], 1)
        found += np.where(positive, 1, -1) * (of_positives - of_negatives)
    found[:, (counts[0] == 0) | (counts[1] == 0)] = np.nan
    return found
