"""What methods on feature vectors share. Notation: n training rows, F features, L labels, B rows to score."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from retdm.errors import UserError

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Value = TypeVar("Value")
FOLDS = 5
SURE = 1e-3  # the least that a score of 0 or 1 is taken for where it is judged by its logarithm


def check_positive(**settings: float | Sequence[float]) -> None:
    """Each setting of a method, and each value of a grid, is above 0.

    Raises:
        UserError: naming the first that is not.
    """
    for key, values in settings.items():
        for value in values if isinstance(values, Sequence) else (values,):
            if not value > 0:
                raise UserError(f"method.{key}={value} is out of range", "it is a number above 0")


def check_grid(grid: Sequence[float], of: str) -> None:
    """There is something to choose the setting ``of`` from, all of it above 0."""
    check_positive(grid=grid)
    if not grid:
        raise UserError("method.grid is empty", f"method.tune chooses {of} from it")


def smoothed_prior(target: NDArray[Any], known: NDArray[Any]) -> Array:
    """(positives + 1) / (rows + 2) of each label, over the rows where it is known. (n, L) -> (L,)"""
    share: Array = (((target > 0) & known).sum(0) + 1) / (known.sum(0) + 2)
    return share


def constant_labels(target: NDArray[Any], known: NDArray[Any]) -> Bools:
    """Labels that teach nothing, because their known cells are all alike: they score their share everywhere. (L,)"""
    positives = ((target > 0) & known).sum(0)
    alike: Bools = (positives == 0) | (positives == known.sum(0))
    return alike


def mean_and_deviation(x: Array, standardise: bool) -> tuple[Array, Array]:
    """(F,) each; 0 and 1 where nothing is standardised, and 1 for a feature that never changes."""
    if not standardise:
        return np.zeros(x.shape[1]), np.ones(x.shape[1])
    mean, deviation = x.mean(0), x.std(0)
    deviation[deviation == 0] = 1
    return mean, deviation


def clusters(x: Array, k: int, seed: int, starts: int = 1) -> tuple[Array, NDArray[np.int32]]:
    """Means (k, F) of k clusters of the rows (n, F), or of as many as there are different rows, and each row's (n,).

    The best of so many ``starts``.
    """
    k = min(k, len(np.unique(x, axis=0)))
    with threadpool_limits(1, user_api="openmp"):  # threads add up in whatever order they end
        found = KMeans(k, n_init=starts, random_state=seed).fit(x)
    return found.cluster_centers_, found.labels_


def nearest(queries: Tensor, rows: Tensor, k: int, *, chunk: int = 1024) -> Tensor:
    """The k nearest of n rows to each of themselves, itself left out (``queries`` is ``rows``), or to other queries.

    Args:
        queries: (B, F) float64.
        rows: (n, F) float64.
        k: below n.

    Returns:
        int64 (B, k), the nearest first; Euclidean distance.
    """
    found = []
    for start in range(0, len(queries), chunk):
        distance = torch.cdist(queries[start : start + chunk], rows)
        if queries is rows:
            leave_out_oneself(distance, start)
        found.append(distance.topk(k, largest=False).indices)
    return torch.cat(found)


def leave_out_oneself(distance: Tensor, start: int) -> None:
    """Set to infinity, in place, the distance (B, n) of the rows from ``start`` on to themselves."""
    own = torch.arange(len(distance), device=distance.device)
    distance[own, own + start] = torch.inf


def lowest_loss(grid: Sequence[Value], loss: Callable[[Value, Bools, Bools], float], n: int, seed: int) -> Value:
    """The value of a grid with the lowest loss over 5 folds of n rows, at a tie the earlier.

    Args:
        grid: values.
        loss: of (value, rows to fit (n,), rows to judge (n,)).
        n: rows.
        seed: of the folds.
    """
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    losses = [sum(loss(value, fold != held, fold == held) for held in range(FOLDS)) for value in grid]
    return grid[int(np.argmin(losses))]


class Tunable(Protocol):
    """What :func:`tuned` needs of a method on vectors: one fit with the settings as they stand, and scores."""

    seed: int

    @property
    def device(self) -> torch.device: ...

    def fit_once(self, examples: NDArray[Any], target: NDArray[Any], known: NDArray[Any]) -> None: ...

    def decision(self, features: Tensor) -> Tensor: ...


def tuned(
    method: Tunable, key: str, grid: Sequence[Value], examples: NDArray[Any], target: NDArray[Any], known: NDArray[Any]
) -> Value:
    """The value of the setting ``key`` with the lowest log-loss over 5 folds of the rows, at a tie the earlier. The
    method is left with another."""

    def loss(value: Value, fitted: Bools, held: Bools) -> float:
        setattr(method, key, value)
        method.fit_once(examples[fitted], target[fitted], known[fitted])
        scores = method.decision(torch.from_numpy(examples[held]).to(method.device).double())
        return log_loss(scores.cpu().numpy(), target[held], known[held])

    return lowest_loss(grid, loss, len(examples), method.seed)


def log_loss(scores: Array, target: NDArray[Any], known: NDArray[Any]) -> float:
    """Sum of log-losses over the known cells; a score is taken for no less sure than one in a thousand. All (n, L)."""
    sure = scores.clip(SURE, 1 - SURE)
    return float((-np.log(np.where(target > 0, sure, 1 - sure)) * known).sum())
