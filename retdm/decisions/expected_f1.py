"""The label set with the greatest expected F1. Notation: n images, L labels."""

import numpy as np
from numpy.typing import ArrayLike

from retdm.criteria.arrays import Bools, Floats, probabilities

BLOCK = 2_000_000  # numbers in an array of (images, L, L)
EQUAL = 1e-12  # values of sets that differ by less are equal: the smaller set is taken


def expected_f1_sets(scores: ArrayLike) -> Bools:
    """Choose for every image the set with the greatest expected F1, were its scores independent probabilities.

    Of all sets with k labels the one of the k highest is the best, so for every k the expectation of
    ``2 a / (k + a + b)`` is computed exactly: a positives among the k highest, b among the rest, both numbers
    Poisson-binomial. The empty set is worth the probability that the image has no label. Time grows with L³, in matrix
    products.

    Source: Jansche, ACL 2007; Ye, Chai, Lee & Chieu, ICML 2012.

    Args:
        scores: (n, L) in [0, 1].

    Returns:
        (n, L) bool; at equal scores the earlier label, at equal expectations the smaller set.

    Raises:
        ValueError: scores outside [0, 1] or NaN.
    """
    values = probabilities(scores)
    order = np.argsort(-values, axis=1, kind="stable")
    falling = np.take_along_axis(values, order, axis=1)
    n, labels = values.shape
    size = max(1, BLOCK // (labels + 1) ** 2)
    blocks = [expected_f1(falling[start : start + size]) for start in range(0, n, size)]
    worth = np.concatenate(blocks) if blocks else np.zeros((0, labels + 1))
    count = (worth >= worth.max(axis=1, keepdims=True) - EQUAL).argmax(axis=1)
    chosen = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(chosen, order, np.arange(labels) < count[:, None], axis=1)
    return chosen


def expected_f1(falling: Floats) -> Floats:
    """The expected F1 (n, L + 1) of the sets of the first 0, 1, …, L labels of each row of probabilities (n, L)."""
    n, labels = falling.shape
    rest = np.zeros((labels + 1, n, labels + 1))  # [k, :, b]: probability of b positives behind the first k
    rest[labels, :, 0] = 1
    for k in reversed(range(labels)):
        rest[k] = _with_one_more(rest[k + 1], falling[:, k])
    worth = np.empty((n, labels + 1))
    worth[:, 0] = rest[0, :, 0]
    first = np.zeros((n, labels + 1))
    first[:, 0] = 1
    for k in range(1, labels + 1):
        first = _with_one_more(first, falling[:, k - 1])
        a, b = np.arange(k + 1)[:, None], np.arange(labels - k + 1)
        gained = first[:, : k + 1] @ (2 * a / (k + a + b))
        worth[:, k] = (gained * rest[k, :, : labels - k + 1]).sum(axis=1)
    return worth


def _with_one_more(count: Floats, probability: Floats) -> Floats:
    """The distributions (n, m) of a number of positives, with one label of these probabilities (n,) more."""
    more = count * (1 - probability)[:, None]
    more[:, 1:] += count[:, :-1] * probability[:, None]
    return more
