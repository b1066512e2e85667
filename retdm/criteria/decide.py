"""From scores to label sets. Notation: n images, L labels."""

import numpy as np
from numpy.typing import ArrayLike

from retdm.criteria.arrays import Bools, probabilities, relevant_and_known
from retdm.errors import UserError
from retdm.registry import nearest

RULES = ("half", "top3", "validation", "t_criterion", "train_threshold")


def check_rule(rule: str) -> None:
    """Raise ``UserError`` where there is no decision rule of that name."""
    if rule not in RULES:
        raise UserError(f"there is no decision rule {rule!r}", nearest(rule, RULES))


def decide(scores: ArrayLike, rule: str, threshold: ArrayLike = 0.5) -> Bools:
    """Decide the label set of every image by a named rule.

    Args:
        scores: (n, L) in [0, 1].
        rule: ``half``: every label scored at least one half. ``top3``: the three highest of each row, at a tie the
            earlier label; all where L < 3 (CNN-RNN's rule, Wang et al., CVPR 2016). ``validation``: every label
            scored at least ``threshold``, such as `best_threshold` of the validation split. ``t_criterion``: as
            ``half``, and where that leaves none, the highest of the row, at a tie the earlier label (Boutell et al.,
            Pattern Recognition 2004; MIMLSVM's rule). ``train_threshold``: every label scored at least its own
            threshold, which the method has chosen on the training split.
        threshold: a number for ``validation``, (L,) for ``train_threshold``; other rules do not read it.

    Returns:
        (n, L) bool.

    Raises:
        UserError: unknown rule.
        ValueError: scores outside [0, 1] or NaN.
    """
    check_rule(rule)
    values = probabilities(scores)
    if rule == "half":
        return values >= 0.5
    if rule in ("validation", "train_threshold"):
        return values >= np.asarray(threshold)
    if rule == "t_criterion":
        chosen = values >= 0.5
        none = ~chosen.any(axis=1)
        chosen[none, values[none].argmax(axis=1)] = True
        return chosen
    chosen = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(chosen, np.argsort(-values, axis=1, kind="stable")[:, :3], True, axis=1)
    return chosen


def best_threshold(scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> float:
    """Find the one threshold for all labels with the greatest O-F1, on the validation split usually.

    Thresholds lie midway between two neighbouring distinct scores, and midway between the lowest score and 0. At equal
    O-F1 the one nearest to 0.5 is taken, then the higher. One sort of all cells.

    Args:
        scores: (n, L) in [0, 1].
        target: (n, L) {0, 1}.
        known: (n, L) bool; other cells count nowhere.

    Returns:
        In [0, 1], for ``decide(..., "validation", threshold)``; 0.5 where no known cell is positive.

    Raises:
        ValueError: scores outside [0, 1] or NaN, shapes that differ.
    """
    values = probabilities(scores)
    relevant, is_known = relevant_and_known(target, known, values.shape)
    cells, positive = values[is_known], relevant[is_known]
    positives = int(positive.sum())
    if positives == 0:
        return 0.5
    order = np.argsort(-cells)
    cells, hits = cells[order], positive[order].cumsum()
    last = np.append(np.flatnonzero(cells[:-1] != cells[1:]), cells.size - 1)  # the last cell of each distinct score
    f1 = 2 * hits[last] / (last + 1 + positives)
    upper = cells[last]
    lower = np.append(upper[1:], 0.0)
    middle = (upper + lower) / 2
    middle = np.where(middle > lower, middle, upper)  # no number lies between two neighbouring floats
    best = middle[f1 == f1.max()]  # equal fractions are equal floats: one correctly rounded division each
    return float(best[np.abs(best - 0.5).argmin()])
