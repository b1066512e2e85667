"""The labels that are taken for others, of decided label sets. Notation: n images, L labels.

An image of several labels does not say which of its wrong labels stands for which of its missed ones, so every pair of
the two counts; and where nothing else is wrong, that is counted apart (as the multi-label confusion matrix of
Heydarian, Doyle and Samavi, IEEE Access 2022, does).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from retdm.criteria.arrays import Ints, as_bool, relevant_and_known


class Confusion(NamedTuple):
    """Numbers of images, int64. Missed is a label that an image has and is not given, added one that it is given and
    lacks; unknown cells are neither.

    Attributes:
        missed: (L,) that miss the label.
        added: (L,) that have it added.
        instead: (L, L), at [i, j] those that miss i and have j added.
        alone: (L,) that miss the label and have none added.
        beside: (L, L), at [i, j] those that have i added and truly have j, found or missed.
        beside_none: (L,) that have the label added and truly have none.
    """

    missed: Ints
    added: Ints
    instead: Ints
    alone: Ints
    beside: Ints
    beside_none: Ints


def confusion(target: ArrayLike, known: ArrayLike, predicted: ArrayLike) -> Confusion:
    """Count, of each label, what is predicted where it is missed and what is truly there where it is added.

    Args:
        target: (n, L) {0, 1}; read in known cells only.
        known: (n, L) bool.
        predicted: (n, L) bool, the decided label sets.

    Raises:
        ValueError: shapes that differ, or values other than 0 and 1.
    """
    shape = np.shape(target)
    relevant, is_known = relevant_and_known(target, known, shape)
    chosen = as_bool("predicted", predicted, shape) & is_known
    missed, added = relevant & ~chosen, chosen & ~relevant

    def pairs(first: np.ndarray, second: np.ndarray) -> Ints:
        # Sums of products in float32 are exact up to 2^24 images, and much faster than in integers.
        return np.rint(first.T.astype(np.float32) @ second.astype(np.float32)).astype(np.int64)

    def images(cells: np.ndarray) -> Ints:
        counts: Ints = cells.sum(axis=0, dtype=np.int64)
        return counts

    return Confusion(
        images(missed),
        images(added),
        pairs(missed, added),
        images(missed & ~added.any(axis=1, keepdims=True)),
        pairs(added, relevant),
        images(added & ~relevant.any(axis=1, keepdims=True)),
    )
