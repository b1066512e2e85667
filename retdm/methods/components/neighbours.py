"""The nearest rows by Euclidean distance. Notation: n rows, B queries, F features."""

import torch
from torch import Tensor


def nearest(queries: Tensor, rows: Tensor, k: int, *, chunk: int = 1024) -> Tensor:
    """The k nearest of n rows to each query; where ``queries`` is ``rows``, no row is its own neighbour.

    Args:
        queries: (B, F) float64.
        rows: (n, F) float64.
        k: below n.
        chunk: queries whose distances to all rows are held at once.

    Returns:
        int64 (B, k), the nearest first.
    """
    found = []
    for start in range(0, len(queries), chunk):
        distance = torch.cdist(queries[start : start + chunk], rows)
        if queries is rows:
            leave_out_oneself(distance, start)
        found.append(distance.topk(k, largest=False).indices)
    return torch.cat(found)


def leave_out_oneself(distance: Tensor, start: int) -> None:
    """Set to infinity, in place, the distance of each row to itself: the rows from ``start`` on to all rows (B, n)."""
    own = torch.arange(len(distance), device=distance.device)
    distance[own, own + start] = torch.inf
