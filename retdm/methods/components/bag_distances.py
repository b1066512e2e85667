"""Distances between bags, exact. Notation: n bags, T instances in all, D features; a and b are two sets of bags.

The ground distance between instances is Euclidean.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, linprog

from retdm.bags import Bags
from retdm.methods.components.labels import Array

Kind = Literal["max_hausdorff", "average_hausdorff", "min_hausdorff", "emd"]
BLOCK = 1024  # instances of a block of bags; distances of all pairs of two blocks are held at once
CANCELS = 1e-6  # share of the squared norms below which a matrix product loses too many digits of a squared distance
REPAIRED = 1 << 22  # differences that are held at once
EXPANDED = 400  # pieces above which a linear program is faster than the assignment


def bag_distances(kind: Kind, a: Bags, b: Bags) -> NDArray[np.float32]:
    """The distances of each bag of a to each of b, float32 (n of a, n of b).

    Args:
        kind: ``max_hausdorff``: the largest distance of an instance of either bag to the other bag, that is to its
            nearest instance there. ``average_hausdorff``: the mean of these over the instances of both bags (Zhang,
            ICTAI 2010). ``min_hausdorff``: the smallest distance between two instances. ``emd``: the earth mover's
            distance, each bag's instances having equal weights that sum to 1.
        a, b: bags, none of them empty.
    """
    found = np.empty((len(a), len(b)), np.float32)
    for rows in blocks(a.offsets):
        for columns in blocks(b.offsets):
            found[rows, columns] = block_distances(kind, a.take(rows), b.take(columns))
    return found


def blocks(offsets: NDArray[np.int64]) -> Iterator[slice]:
    """All bags in slices of at most ``BLOCK`` instances, or of one larger bag."""
    start, n = 0, len(offsets) - 1
    while start < n:
        stop = int(np.searchsorted(offsets, offsets[start] + BLOCK, side="right")) - 1
        yield slice(start, max(stop, start + 1))
        start = max(stop, start + 1)


def block_distances(kind: Kind, a: Bags, b: Bags) -> Array:
    """:func:`bag_distances` at once, in the memory of all pairs of instances."""
    squares = squared_distances(a.instances, b.instances)
    if kind == "emd":
        cost = np.sqrt(squares)
        pairs = [
            [earth_movers_distance(cost[i:j, k:m]) for k, m in zip(b.offsets, b.offsets[1:], strict=False)]
            for i, j in zip(a.offsets, a.offsets[1:], strict=False)
        ]
        return np.array(pairs)
    starts_a, starts_b = a.offsets[:-1], b.offsets[:-1]
    to_b = np.sqrt(np.minimum.reduceat(squares, starts_b, axis=1))  # each instance of a to each bag of b
    if kind == "min_hausdorff":
        least: Array = np.minimum.reduceat(to_b, starts_a, axis=0)
        return least
    to_a = np.sqrt(np.minimum.reduceat(squares, starts_a, axis=0))
    if kind == "max_hausdorff":
        return np.maximum(np.maximum.reduceat(to_b, starts_a, axis=0), np.maximum.reduceat(to_a, starts_b, axis=1))
    total = np.add.reduceat(to_b, starts_a, axis=0) + np.add.reduceat(to_a, starts_b, axis=1)
    mean: Array = total / (a.sizes[:, None] + b.sizes)
    return mean


def squared_distances(x: NDArray[Any], y: NDArray[Any]) -> Array:
    """(T, D), (U, D) -> (T, U), by one matrix product, and by differences where that would cancel."""
    of_x, of_y = (x**2).sum(1), (y**2).sum(1)
    squares: Array = np.c_[-2 * x, of_x, np.ones(len(x))] @ np.c_[y, np.ones(len(y)), of_y].T
    near = np.argwhere(squares < CANCELS * (of_x.max() + of_y.max()))
    step = max(1, REPAIRED // x.shape[1])
    for start in range(0, len(near), step):
        i, j = near[start : start + step].T
        squares[i, j] = ((x[i] - y[j]) ** 2).sum(1)
    return squares


def earth_movers_distance(cost: Array) -> float:
    """The least cost of moving n equal heaps, 1 in all, to m equal places, at the ``cost`` (n, m) of moving 1.

    Heaps and places are divided into equal pieces, as many as the least common multiple of n and m, and assigned.
    """
    n, m = cost.shape
    if n == 1 or m == 1:
        return float(cost.mean())
    pieces = math.lcm(n, m)
    if pieces > EXPANDED:
        leaving = scipy.sparse.kron(scipy.sparse.eye(n), np.ones((1, m)))
        coming = scipy.sparse.kron(np.ones((1, n)), scipy.sparse.eye(m))
        amounts = np.r_[np.full(n, 1 / n), np.full(m, 1 / m)]
        return float(linprog(cost.ravel(), A_eq=scipy.sparse.vstack([leaving, coming]), b_eq=amounts).fun)
    square = cost if n == m else cost.repeat(pieces // n, 0).repeat(pieces // m, 1)
    return float(square[linear_sum_assignment(square)].sum() / pieces)
