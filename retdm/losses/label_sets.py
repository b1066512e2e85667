"""Distances between label sets, and the nearest of them. Notation: R rows, S candidates, L labels."""

import torch
import torch.nn.functional as F
from torch import Tensor


def nearest_label_sets(
    sets: Tensor,
    k: int,
    *,
    candidates: Tensor | None = None,
    frequency: Tensor | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """Find for every row the k nearest distinct candidate label sets other than its own, by Hamming distance.

    Ties: the more frequent set first, then ascending order of the sets read as text of 0 and 1, first label first
    ("0011" before "0101"). Memory is that of a few (R, S) matrices, so pass the rows of a large index in pieces.

    Args:
        sets: (R, L), a label is present above 0.5.
        k: at least 1.
        candidates: (S, L), None for ``sets``; equal rows count as one set.
        frequency: (S,) of each candidate, None where all are alike; of equal rows the first valid one's counts.
        valid: (S,) bool, False for candidates to pass over, None where all count.

    Returns:
        int64 (R, min(k, S)): candidate rows, nearest first, of equal rows the first valid one; -1 where none is left.

    Raises:
        ValueError: k below 1, or shapes that do not fit together.
    """
    candidates = sets if candidates is None else candidates
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if sets.ndim != 2 or candidates.ndim != 2 or sets.shape[1] != candidates.shape[1]:
        raise ValueError(
            f"sets must be (R, L) and candidates (S, L), got {tuple(sets.shape)} and {tuple(candidates.shape)}"
        )
    size = len(candidates)
    for name, given in (("frequency", frequency), ("valid", valid)):
        if given is not None and given.shape != (size,):
            raise ValueError(f"{name} must be ({size},), one for each candidate, got {tuple(given.shape)}")

    place, first = _tie_order(candidates > 0.5, frequency, valid)
    distance = hamming(sets, candidates)
    key = distance * size + place  # orders by (distance, tie order), and no two are equal
    nobody = torch.iinfo(torch.int64).max
    key = key.masked_fill((distance == 0) | ~first, nobody)
    smallest, index = key.topk(min(k, size), dim=1, largest=False, sorted=True)
    return index.masked_fill(smallest == nobody, -1)


def hamming(one: Tensor, other: Tensor) -> Tensor:
    """Hamming distances of label sets. (R, L), (S, L) -> int64 (R, S)

    The counts are exact in float32, which autocast would not use.
    """
    with torch.autocast(one.device.type, enabled=False):
        a, b = (one > 0.5).float(), (other > 0.5).float()
        return (a.sum(1)[:, None] + b.sum(1) - 2 * a @ b.T).long()


def _tie_order(sets: Tensor, frequency: Tensor | None, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """(S, L) bool -> the rows' places by (frequency descending, 0/1 text), and bool: a row is the first of its set."""
    size = len(sets)
    valid = torch.ones(size, dtype=torch.bool, device=sets.device) if valid is None else valid
    words = _packed(sets)
    order = torch.arange(size, device=sets.device)
    for word in reversed(words.unbind(1)):  # stable sorts from the last word to the first: lexicographic
        order = order[word[order].argsort(stable=True)]
    order = order[(~valid[order]).long().argsort(stable=True)]

    ordered = words[order]  # equal sets now stand side by side, in the order of their rows
    first = torch.ones_like(valid)
    first[order[1:]] = (ordered[1:] != ordered[:-1]).any(1)

    if frequency is not None:
        order = order[frequency[order].argsort(descending=True, stable=True)]
    place = torch.empty_like(order)
    place[order] = torch.arange(size, device=sets.device)
    return place, first & valid


def _packed(sets: Tensor, bits: int = 63) -> Tensor:
    """(S, L) bool -> int64 (S, words), first label in the highest bit; never negative, so words sort as the text."""
    padded: Tensor = F.pad(sets.long(), (0, -sets.shape[1] % bits)).unflatten(1, (-1, bits))
    return (padded << torch.arange(bits - 1, -1, -1, device=sets.device)).sum(2)
