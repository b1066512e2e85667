"""How far scores are from probabilities that mean what they say. Notation: n images, L labels, B bins.

Each is computed for every label over its known images, and is the mean over labels; a label without a known image is in
no mean. Labels without positives count: their probabilities should be near 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from retdm.criteria.arrays import Bools, Floats, mean, probabilities, ratio, relevant_and_known

BINS = 10
EDGE = 1e-7  # about what float32 tells from 1: a score nearer to 0 or 1 counts as one so far away, where logs are taken


def calibration_error(scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> float | None:
    """The gap between scores and the share of positives, in ten bins of equally many images; mean over labels.

    A label's images are ordered by score and cut into B = 10 bins of n / 10 images, an image on a cut counting in both
    by its parts. Its error is the mean over bins of the difference between mean score and share of positives.

    Ties: images of one score share their positives, so that the order of images changes nothing. Of n images the error
    of perfect probabilities p is about √(2 p (1 − p) B / (π n)), not 0: compare errors of equal n alone.

    Source: Naeini, Cooper & Hauskrecht, AAAI 2015; bins of equal mass: Nixon et al., CVPR workshops 2019.

    Args:
        scores: (n, L) in [0, 1].
        target: (n, L) {0, 1}.
        known: (n, L) bool.

    Raises:
        ValueError: scores outside [0, 1] or NaN, shapes that differ.
    """
    values, relevant, is_known = _cells(scores, target, known)
    over = values - relevant
    gaps = [np.abs(each @ in_bins(*column)).sum() for each, *column in zip(over.T, values.T, is_known.T, strict=True)]
    return mean(ratio(np.array(gaps), is_known.sum(axis=0)))


def brier_score(scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> float | None:
    """The mean of (score − label)², label 0 or 1 (Brier, Monthly Weather Review 1950); mean over labels.

    Args, raises: as `calibration_error`.
    """
    return mean(_of_labels(squares, *_cells(scores, target, known)))


def log_loss(scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> float | None:
    """The mean of −log of the probability given to what is there; mean over labels. Scores are kept 1e-7 from 0 and 1.

    Args, raises: as `calibration_error`.
    """
    return mean(_of_labels(surprises, *_cells(scores, target, known)))


def squares(values: Floats, relevant: Bools) -> Floats:
    """(n, L), of each cell."""
    return np.asarray((values - relevant) ** 2)


def surprises(values: Floats, relevant: Bools) -> Floats:
    """(n, L), of each cell."""
    inside = np.clip(values, EDGE, 1 - EDGE)
    return np.asarray(-np.log(np.where(relevant, inside, 1 - inside)))


class Reliability(NamedTuple):
    """Scores beside how often they are right, from low scores to high.

    Attributes:
        score: (B,) mean of each bin.
        share: (B,) of positives in it.
    """

    score: Floats
    share: Floats


def reliability(scores: ArrayLike, target: ArrayLike, known: ArrayLike, bins: int = BINS) -> Reliability | None:
    """Bins of equally many cells over the known cells of all labels, as `calibration_error` cuts them; None of none.

    Args:
        scores, target, known: as of `calibration_error`.
        bins: B.
    """
    values, relevant, is_known = _cells(scores, target, known)
    cells, positive = values[is_known], relevant[is_known]
    if not cells.size:
        return None
    shares = in_bins(cells, np.ones(cells.size, bool), bins) * bins / cells.size
    return Reliability(cells @ shares, positive @ shares)


def in_bins(scores: Floats, known: Bools, bins: int = BINS) -> Floats:
    """The share (n, B) of each image that lies in each bin of a label, by its scores and what is known, (n,) both.

    Bins of equal mass, from low scores to high; images of one score are spread alike over the bins that they reach. An
    unknown image has 0 everywhere, others 1 in all.
    """
    found = np.zeros((len(scores), bins))
    rows = np.flatnonzero(known)
    _, group, count = np.unique(scores[rows], return_inverse=True, return_counts=True)
    end = count.cumsum()[:, None]
    cuts = np.arange(bins + 1) * rows.size / bins
    inside = np.minimum(end, cuts[1:]) - np.maximum(end - count[:, None], cuts[:-1])  # (distinct scores, B)
    found[rows] = (np.maximum(inside, 0) / count[:, None])[group]
    return found


def _cells(scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> tuple[Floats, Bools, Bools]:
    values = probabilities(scores)
    return values, *relevant_and_known(target, known, values.shape)


def _of_labels(of: Callable[[Floats, Bools], Floats], values: Floats, relevant: Bools, known: Bools) -> Floats:
    """(L,), NaN of a label without a known image."""
    cells = np.where(known, of(values, relevant), 0)
    return ratio(cells.sum(axis=0), known.sum(axis=0))
