"""Stratified splits of rows with several labels, which may be in groups. Notation: G groups, L labels."""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


def take_stratified(
    order: list[Indices], wanted: int, targets: NDArray[np.uint8]
) -> tuple[list[Indices], list[Indices]]:
    """Groups of about ``wanted`` rows with their share of each label: (the groups taken, the groups left).

    Iterative stratification (Sechidis et al., ECML 2011) of two sides, over the groups' summed labels: the label of
    which the fewest rows are left to place is placed next, each group that has it on the side that lacks most of it,
    at a tie on the one that lacks more rows; groups without labels come last, by their rows. For single rows this is
    the algorithm of the paper, and ends near its aim. Groups of many rows do not: so groups then change sides, one at a
    time and the one that helps most, as long as that brings the labels' shares and the sizes nearer together.

    Args:
        order: the rows of each group; where several would do, the earlier one is placed first.
        wanted: rows, fewer than all.
        targets: (n, L) of 0 and 1.
    """
    counts = np.stack([targets[rows].sum(0, dtype=np.float64) for rows in order])
    sizes = np.array([float(len(rows)) for rows in order])
    share = wanted / sizes.sum()
    taken = _placed(counts, sizes, share)
    if sizes.max() > 1:
        _improve(taken, counts, sizes, share)
    places = range(len(order))
    return [order[i] for i in places if taken[i]], [order[i] for i in places if not taken[i]]


def _placed(counts: Floats, sizes: Floats, share: float) -> NDArray[np.bool_]:
    """The groups (G,) that iterative stratification takes, of counts (G, L) and sizes (G,)."""
    taken, left = np.zeros(len(sizes), bool), np.ones(len(sizes), bool)
    shares = np.array([1 - share, share])
    lacking, lacking_rows = np.outer(shares, counts.sum(0)), shares * sizes.sum()
    while left.any():
        remaining = counts[left].sum(0)
        label = int(np.where(remaining > 0, remaining, np.inf).argmin()) if remaining.any() else None
        among = left if label is None else left & (counts[:, label] > 0)
        for group in np.flatnonzero(among).tolist():
            wishes = lacking_rows if label is None else lacking[:, label]
            if wishes[0] == wishes[1]:
                wishes = lacking_rows
            side = int(wishes[1] > wishes[0])
            taken[group] = side
            lacking[side] -= counts[group]
            lacking_rows[side] -= sizes[group]
        left &= ~among
    return taken


def _improve(taken: NDArray[np.bool_], counts: Floats, sizes: Floats, share: float) -> None:
    """Let groups change sides while that lowers Σ_labels (part taken − share)² + L · (part of the rows − share)²."""
    present = counts[:, counts.any(0)]
    weight = np.sqrt(max(1, present.shape[1]))
    parts = np.column_stack([present / present.sum(0), weight * sizes / sizes.sum()])  # (G, L + 1)
    aim = np.append(np.full(present.shape[1], share), weight * share)
    for _ in range(len(sizes)):
        over = parts[taken].sum(0) - aim
        gain = 2 * np.where(taken, 1, -1) * (parts @ over) - (parts**2).sum(1)  # by which a change of sides lowers it
        best = int(gain.argmax())
        if gain[best] <= 1e-12:
            break
        taken[best] = not taken[best]
