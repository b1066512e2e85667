"""Criteria of the order in which each image ranks its labels. Notation: n images, L labels.

Ties count as errors: the rank of a label is the number of known labels scored **at least** as high, so each of
m labels tied at the top has rank m. An image's unknown labels are left out of its ranking. "Empty" is an image
without a (known) relevant label, "full" one whose known labels are all relevant; neither has a pair to order. The MIML
authors' MATLAB code breaks ties by label position and counts any relevant label at the top as right; scikit-learn
averages empty and full rows in (with the values 0 or 1) and counts coverage from 1.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from retdm.criteria.arrays import Bools, Floats, Ints, mean, probabilities, ratio, relevant_and_known


class Ranks(NamedTuple):
    """Each row's labels in descending order of score, unknown ones last; all (n, L)."""

    relevant: Bools
    rank: Ints  # known labels scored at least as high
    relevant_rank: Ints  # relevant labels scored at least as high

    @property
    def relevant_count(self) -> Ints:
        """(n,) int64."""
        count: Ints = self.relevant.sum(axis=1, dtype=np.int64)
        return count

    @property
    def known_count(self) -> Ints:
        """(n,) int64; the last rank counts every known label."""
        count: Ints = self.rank.max(axis=1, initial=0)
        return count

    @property
    def has_pairs(self) -> Bools:
        """(n,) bool; False where a row is empty or full."""
        return (self.relevant_count > 0) & (self.relevant_count < self.known_count)


def ranks(scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> Ranks:
    """Rank the labels of every row: ``scores`` (n, L) in [0, 1], ``target`` (n, L) {0, 1}, ``known`` (n, L) bool.

    One sort a row and no (n, L, L) array. ValueError: scores outside [0, 1] or NaN, shapes that differ.
    """
    values = probabilities(scores)
    relevant, is_known = relevant_and_known(target, known, values.shape)
    values = np.where(is_known, values, -np.inf)
    order = np.argsort(-values, axis=1)
    values, relevant = np.take_along_axis(values, order, axis=1), np.take_along_axis(relevant, order, axis=1)
    is_known = np.take_along_axis(is_known, order, axis=1)
    # Tied labels share the counts that stand at the last place of their tie.
    width = values.shape[1]
    ends_here = np.ones(values.shape, dtype=bool)
    ends_here[:, :-1] = values[:, :-1] != values[:, 1:]
    end = np.where(ends_here, np.arange(width), width)
    end = np.minimum.accumulate(end[:, ::-1], axis=1)[:, ::-1]

    def counted(cells: Bools) -> Ints:
        return np.take_along_axis(cells.cumsum(axis=1, dtype=np.int64), end, axis=1)

    return Ranks(relevant, counted(is_known), counted(relevant))


def precision_at_relevant(r: Ranks) -> Floats:
    """(n,) mean over a row's relevant labels of (relevant labels ranked no lower) / rank; NaN where there is none."""
    precision = np.where(r.relevant, ratio(r.relevant_rank, r.rank), 0.0)
    return ratio(precision.sum(axis=1), r.relevant_count)


def wrong_pairs(r: Ranks) -> Floats:
    """(n,) share of a row's (relevant, irrelevant) pairs in the wrong order; NaN where it has no pair."""
    wrong = np.where(r.relevant, r.rank - r.relevant_rank, 0).sum(axis=1)
    pairs = r.relevant_count * (r.known_count - r.relevant_count)
    return ratio(wrong, pairs)


def ranking_loss(r: Ranks) -> float | None:
    """ranking_loss: mean over images of the share of (relevant, irrelevant) pairs in the wrong order.

    Ties: a tied pair is a full error. Empty and full rows: left out. Absent classes: irrelevant labels as any other.
    Source: Schapire & Singer, 2000; ties as in Zhou & Zhang, NIPS 2006 (MIML).
    """
    return mean(wrong_pairs(r))


def depth(r: Ranks) -> Floats:
    """(n,) greatest rank of a row's relevant labels, minus 1; NaN where it has none."""
    deepest = np.where(r.relevant, r.rank, 0).max(axis=1, initial=0)
    return np.where(deepest > 0, deepest - 1.0, np.nan)


def coverage(r: Ranks) -> float | None:
    """coverage: mean over images of the greatest rank of a relevant label, minus 1 (so a perfect single label is 0).

    Ties: the greatest rank. Empty rows: left out. Full rows: count, with known labels − 1. Absent classes: irrelevant
    labels as any other. Source: Schapire & Singer, 2000; zero-based as in Zhou & Zhang, NIPS 2006.
    """
    return mean(depth(r))


def coverage_normalised(r: Ranks) -> float | None:
    """coverage_normalised: coverage / L, L all labels of the data, also where a row's are partly unknown.

    Ties, empty and full rows, absent classes: as `coverage`. Never reaches 1.
    """
    value = coverage(r)
    return None if value is None else value / r.rank.shape[1]


def top_is_wrong(r: Ranks) -> Floats:
    """(n,) 1 where an irrelevant label is at the top of a row, 0 where none is; NaN where it has no pair."""
    wrong: Bools = r.relevant_rank[:, 0] < r.rank[:, 0]  # the first place counts all labels tied with it
    return np.where(r.has_pairs, wrong, np.nan)


def one_error(r: Ranks) -> float | None:
    """one_error: share of images whose top label is irrelevant.

    Ties: an error if any label tied at the top is irrelevant. Empty and full rows: left out. Absent classes:
    irrelevant labels as any other. Source: Schapire & Singer, 2000.
    """
    return mean(top_is_wrong(r))
