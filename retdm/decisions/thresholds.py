"""Thresholds of scores, chosen on scored images whose labels are known. Notation: n images, L labels.

One threshold for all labels (`best_threshold`), or one a label (`f1_thresholds`, `floor_thresholds`). A threshold of a
label that few images have is mostly chance, so it leans on the *pooled* one, which is chosen in the same way from the
cells of all labels together. An unknown cell counts nowhere.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from retdm.criteria.arrays import Bools, Floats, Ints, probabilities, relevant_and_known
from retdm.criteria.calibration import EDGE

FEW_POSITIVES = 10  # with so many a label's own threshold counts as much as the pooled one
NEVER = float(np.nextafter(np.float32(1), np.float32(2)))  # above every score, in float32 too: a label never predicted

Floor = Literal["precision", "recall"]
Chooser = Callable[[Floats, Bools], float]


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
    values, relevant, is_known = _cells(scores, target, known)
    return _greatest_f1(values[is_known], relevant[is_known])


def f1_thresholds(scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> Floats:
    """Find for every label the threshold with the greatest F1, as `best_threshold` does for all cells.

    A label's own threshold, from p positives, and the pooled one are mixed as logits with weights p / (p + 10) and
    10 / (p + 10); a label without positives takes the pooled one. To choose one threshold a label on held-out scores
    (SCut): Yang, SIGIR 2001, who warns of rare labels.

    Args:
        scores, target, known: as of `best_threshold`.

    Returns:
        (L,) in [0, 1].

    Raises:
        ValueError: as `best_threshold`.
    """
    own, pooled, positives = _own_and_pooled(_cells(scores, target, known), _greatest_f1)
    share = positives / (positives + FEW_POSITIVES)
    mixed = share * log_odds(own) + (1 - share) * log_odds(pooled)
    return np.where(positives == 0, pooled, 1 / (1 + np.exp(-mixed)))


def floor_thresholds(scores: ArrayLike, target: ArrayLike, known: ArrayLike, floor: Floor, least: float) -> Floats:
    """Find for every label the best threshold that keeps its precision, or its recall, at or above a floor.

    Of a floor of precision it is the one with the greatest recall, then the greatest precision; `NEVER` where none
    reaches the floor. Of a floor of recall it is the one with the greatest precision, then the greatest recall. A label
    with fewer than 10 positives takes the more cautious of its own threshold and the pooled one: the higher for
    precision, the lower for recall. A label without positives takes the pooled one.

    What the floor promises holds on these rows; on others it is only likely, and for few positives barely so.

    Args:
        scores, target, known: as of `best_threshold`.
        floor: what must be reached.
        least: the floor, in (0, 1].

    Returns:
        (L,) in [0, 1], or `NEVER`.

    Raises:
        ValueError: as `best_threshold`.
    """
    own, pooled, positives = _own_and_pooled(
        _cells(scores, target, known), lambda cells, positive: _over_floor(cells, positive, floor, least)
    )
    cautious = np.maximum(own, pooled) if floor == "precision" else np.minimum(own, pooled)
    return np.where(positives == 0, pooled, np.where(positives < FEW_POSITIVES, cautious, own))


def log_odds(probability: ArrayLike) -> Floats:
    """Of numbers in [0, 1], which are kept 1e-7 from both ends."""
    inside = np.clip(np.asarray(probability, dtype=np.float64), EDGE, 1 - EDGE)
    return np.asarray(np.log(inside / (1 - inside)))


def _cells(scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> tuple[Floats, Bools, Bools]:
    values = probabilities(scores)
    return values, *relevant_and_known(target, known, values.shape)


def _own_and_pooled(cells: tuple[Floats, Bools, Bools], chooser: Chooser) -> tuple[Floats, float, Ints]:
    """What a chooser takes for each label (L,), for all cells at once, and each label's positives (L,)."""
    values, relevant, is_known = cells
    own = [
        chooser(column[given], positive[given])
        for column, positive, given in zip(values.T, relevant.T, is_known.T, strict=True)
    ]
    return np.array(own), chooser(values[is_known], relevant[is_known]), relevant.sum(axis=0, dtype=np.int64)


def _cuts(cells: Floats, positive: Bools) -> tuple[Floats, Ints, Ints]:
    """Thresholds (T,), falling, that part some cells (m,) in every possible way, and of each how many cells reach it,
    and how many of these are positive. m is at least 1."""
    order = np.argsort(-cells)
    cells, hits = cells[order], positive[order].cumsum()
    last = np.append(np.flatnonzero(cells[:-1] != cells[1:]), cells.size - 1)  # the last cell of each distinct score
    upper = cells[last]
    lower = np.append(upper[1:], 0.0)
    middle = (upper + lower) / 2
    middle = np.where(middle > lower, middle, upper)  # no number lies between two neighbouring floats
    return middle, last + 1, hits[last]


def _greatest_f1(cells: Floats, positive: Bools) -> float:
    positives = int(positive.sum())
    if positives == 0:
        return 0.5
    middle, predicted, hits = _cuts(cells, positive)
    f1 = 2 * hits / (predicted + positives)
    best = middle[f1 == f1.max()]  # equal fractions are equal floats: one correctly rounded division each
    return float(best[np.abs(best - 0.5).argmin()])


def _over_floor(cells: Floats, positive: Bools, floor: Floor, least: float) -> float:
    positives = int(positive.sum())
    if positives == 0:
        return 0.5
    middle, predicted, hits = _cuts(cells, positive)
    precision, recall = hits / predicted, hits / positives
    reached, wished = (precision, recall) if floor == "precision" else (recall, precision)
    meets = reached >= least
    if not meets.any():
        return NEVER
    best = meets & (wished == wished[meets].max())
    return float(middle[best][reached[best].argmax()])
