"""The steps of MIMLfast one by one, in machine code: importing this module needs numba. Notation as in ``mimlfast``.

Plain loops over plain numbers compile in a fifth of the time that array expressions take.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retdm.methods.components.labels import Array

compiled = njit(fastmath={"reassoc", "contract"})  # sums may be split into lanes; infinity stays infinity


@compiled
def highest(concepts: Array, mapped: Array, size: int) -> tuple[float, int, int]:
    """The largest product of a label's sub-concepts (K, D) with ``size`` instances (N, D): (value, k, instance)."""
    value, k, at = -np.inf, 0, 0
    for now in range(len(concepts)):
        for instance in range(size):
            product = 0.0
            for c in range(concepts.shape[1]):
                product += concepts[now, c] * mapped[instance, c]
            if product > value:
                value, k, at = product, now, instance
    return value, k, at


@compiled
def add(column: Array, first: float, a: Array, second: float, b: Array, norm: float) -> None:
    """Add first·a + second·b to a column (D,), in place, then shorten it to the norm where it is longer."""
    squares = 0.0
    for c in range(len(column)):
        column[c] += first * a[c] + second * b[c]
        squares += column[c] * column[c]
    if squares > norm * norm:
        shorter = norm / np.sqrt(squares)
        for c in range(len(column)):
            column[c] *= shorter


@compiled
def one_by_one(
    x: Array,
    offsets: NDArray[np.int64],
    negatives: NDArray[np.int64],
    ends: NDArray[np.int64],
    pairs: NDArray[np.int64],
    weights: Any,
    rates: Any,
    draws: Array,
    each: int,
) -> float:
    """One round through all pairs, in the authors' order; see ``Round`` in ``retdm.methods.on_bags.mimlfast``. Every
    ``each``-th weight enters the average."""
    space, concepts, space_sum, concepts_sum, counts = weights
    eta, lambda_, norm = rates
    dummy = len(concepts) - 1
    mapped = np.zeros((np.max(offsets[1:] - offsets[:-1]), space.shape[1]))
    total = 0.0
    for place in range(len(pairs)):
        bag, label = pairs[place]
        start, size = offsets[bag], offsets[bag + 1] - offsets[bag]
        candidates = ends[bag + 1] - ends[bag] - (label == dummy)  # the dummy is the last of them
        if candidates == 0:
            continue
        mapped[:size] = 0
        for instance in range(size):
            for j in range(len(space)):
                for c in range(space.shape[1]):
                    mapped[instance, c] += x[start + instance, j] * space[j, c]
        own, own_k, own_at = highest(concepts[label], mapped, size)
        drawn, gap = 0, 0.0
        while gap <= 0 and drawn < candidates:
            other = negatives[ends[bag] + int(draws[place, drawn] * candidates)]
            value, other_k, other_at = highest(concepts[other], mapped, size)
            gap = 1 - own + value
            drawn += 1
        if gap > 0:
            total += gap
            step = 0.0
            for rank in range(1, candidates // drawn + 1):
                step += 1 / rank
            step *= eta / (1 + lambda_ * counts[0] * eta)
            counts[0] += 1
            w_own, w_other = concepts[label, own_k].copy(), concepts[other, other_k].copy()
            add(concepts[label, own_k], step, mapped[own_at], 0.0, mapped[own_at], norm)
            add(concepts[other, other_k], -step, mapped[other_at], 0.0, mapped[other_at], norm)
            for j in range(len(space)):
                add(space[j], step * x[start + own_at, j], w_own, -step * x[start + other_at, j], w_other, norm)
        if counts[0] > 0 and place % each == each - 1:
            space_sum += space
            concepts_sum += concepts
            counts[1] += 1
    return total / len(pairs)
