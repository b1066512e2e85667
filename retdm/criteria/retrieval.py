"""Criteria of retrieval: how near to a query lie the images that have its label set.

An image is relevant to a query if it has the query's label set, no label more and none less: that is what the embedding
of a label set stands for, and it needs no rule for how many shared labels are enough. The empty set is one as any
other. Notation: Q queries, n images, D width of embeddings, L labels.
"""

from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

from retdm.criteria.arrays import Bools, Floats, as_bool, mean, ratio
from retdm.criteria.ranking import Ranks, precision_at_relevant, ranks

BLOCK = 256  # queries whose distances to all images are held at once


class Retrieval(TypedDict):
    """The result of `evaluate_retrieval`; None stands for an undefined value.

    Attributes:
        precision_at_10: mean over queries of the share of relevant images among the ten nearest.
        mAP: mean over queries of the average precision of their ranking of the images.
        queries: that have a relevant image, over which the means are taken.
        without_relevant: other queries, which are left out.
    """

    precision_at_10: float | None
    mAP: float | None
    queries: int
    without_relevant: int


def evaluate_retrieval(
    query: ArrayLike,
    query_sets: ArrayLike,
    image: ArrayLike,
    image_sets: ArrayLike,
    own: ArrayLike | None = None,
) -> Retrieval:
    """Rank all images by their Euclidean distance from each query, the nearest first.

    Ties: images equally far are taken in together by mAP, as by `mean_average_precision`; precision takes of a tie that
    reaches over the tenth place its share. A query of fewer than ten images is precise among those there are.

    Args:
        query: (Q, D) embeddings.
        query_sets: (Q, L) of 0 and 1, all known.
        image: (n, D).
        image_sets: (n, L), as ``query_sets``.
        own: int (Q,), the image that a query is itself and does not find, -1 where it is none; None: all are none.

    Raises:
        ValueError: shapes that do not fit together, sets of other values than 0 and 1.
    """
    from scipy.spatial.distance import cdist  # take a second
    from scipy.stats import rankdata

    one, other = np.asarray(query, np.float64), np.asarray(image, np.float64)
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(f"query and image must be (Q, D) and (n, D), got {one.shape} and {other.shape}")
    width = np.asarray(image_sets).shape[-1]
    asked = as_bool("query_sets", query_sets, (len(one), width))
    there = as_bool("image_sets", image_sets, (len(other), width))
    self_row = np.full(len(one), -1) if own is None else np.asarray(own)
    precision, average = [np.zeros(0)], [np.zeros(0)]
    for start in range(0, len(one), BLOCK):
        rows = slice(start, start + BLOCK)
        relevant: Bools = cdist(asked[rows], there, "cityblock") == 0
        known = np.arange(len(other)) != self_row[rows, None]
        place = rankdata(cdist(one[rows], other), method="min", axis=1)  # as good as the distance, and bounded
        found = ranks(1 - place / (len(other) + 1), relevant, known)
        has_relevant = found.relevant_count > 0
        precision.append(np.where(has_relevant, precision_at(found, 10), np.nan))
        average.append(precision_at_relevant(found))
    values = np.concatenate(precision)
    queries = int((~np.isnan(values)).sum())
    return {
        "precision_at_10": mean(values),
        "mAP": mean(np.concatenate(average)),
        "queries": queries,
        "without_relevant": len(one) - queries,
    }


def precision_at(r: Ranks, k: int) -> Floats:
    """(Q,) share of relevant images among the first k of each row, or among all where there are fewer; NaN where there
    is none. A place in a tie counts by the share of relevant images in the tie."""
    rank, hits = r.rank[:, :k], r.relevant_rank[:, :k]
    steps = [np.diff(column, axis=1, prepend=0) for column in (rank, hits)]
    begins = steps[0] > 0  # a tie, or an image alone
    nearer, hits_nearer = (
        np.maximum.accumulate(np.where(begins, column - step, 0), axis=1)
        for column, step in zip((rank, hits), steps, strict=True)
    )
    inside = np.arange(rank.shape[1]) < r.known_count[:, None]
    share = np.where(inside, ratio(hits - hits_nearer, rank - nearer), 0)
    return ratio(share.sum(axis=1), np.minimum(k, r.known_count))
