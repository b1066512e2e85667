"""What methods on bags share. Letters: n bags, T instances in all, B bags and N places of a batch, L labels."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from retdm.batch import BagExamples
from retdm.errors import UserError
from retdm.methods.shallow import check_positive, lowest_loss

BATCH = 256  # bags that are padded at once


class Tunable(Protocol):
    """What :func:`tuned` needs of a method: one fit with the settings as they stand, and scores."""

    seed: int

    @property
    def device(self) -> torch.device: ...

    def fit_once(self, examples: BagExamples, target: NDArray[Any], known: NDArray[Any]) -> None: ...

    def bag_decision(self, bag: Tensor, mask: Tensor, index: Tensor) -> Tensor: ...


def batches(examples: BagExamples, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """All bags in their order as scoring sees them: float64 (B, N, D), mask (B, N), index (B,)."""
    sizes, width = np.diff(examples.offsets), examples.instances.shape[1]
    for start in range(0, len(sizes), BATCH):
        part = sizes[start : start + BATCH]
        mask = np.arange(part.max()) < part[:, None]
        bag = np.zeros((*mask.shape, width))
        bag[mask] = examples.instances[examples.offsets[start] : examples.offsets[start + len(part)]]
        index = torch.from_numpy(examples.index[start : start + BATCH])
        yield torch.from_numpy(bag).to(device), torch.from_numpy(mask).to(device), index.to(device)


def taken(examples: BagExamples, bags: NDArray[np.bool_]) -> BagExamples:
    """Those of the bags (n,)."""
    sizes = np.diff(examples.offsets)
    offsets = np.concatenate([[0], np.cumsum(sizes[bags])])
    return BagExamples(examples.instances[np.repeat(bags, sizes)], offsets, examples.index[bags])


def owners(examples: BagExamples) -> NDArray[np.int64]:
    """The bag of each instance, as a place among the n. (T,)"""
    return np.repeat(np.arange(len(examples.index)), np.diff(examples.offsets))


def scores_of(method: Tunable, examples: BagExamples) -> NDArray[np.float64]:
    """(n, L) in [0, 1]"""
    found = [method.bag_decision(*batch).cpu() for batch in batches(examples, method.device)]
    scores: NDArray[np.float64] = torch.cat(found).numpy()
    return scores


def tuned(
    method: Tunable,
    key: str,
    values: Sequence[float],
    examples: BagExamples,
    target: NDArray[Any],
    known: NDArray[Any],
) -> float:
    """The value of the setting ``key`` with the fewest wrong cells over 5 folds of the bags, at a tie the smaller.

    A cell is wrong if it is known and its score on the other side of the method's own ``thresholds``, or of 1/2. The
    method is left with another value.
    """

    def errors(value: float, fitted: NDArray[np.bool_], held: NDArray[np.bool_]) -> float:
        setattr(method, key, value)
        method.fit_once(taken(examples, fitted), target[fitted], known[fitted])
        thresholds = method.thresholds.cpu().numpy() if hasattr(method, "thresholds") else 0.5
        wrong = (scores_of(method, taken(examples, held)) >= thresholds) != (target[held] > 0)
        return float((wrong & known[held].astype(bool)).sum())

    best: float = lowest_loss(sorted(values), errors, len(target), method.seed)
    return best


def check_candidates(candidates: Sequence[float], of: str) -> None:
    """There is something to choose the setting ``of`` from, all of it above 0."""
    check_positive(candidates=tuple(candidates))
    if not candidates:
        raise UserError("method.candidates is empty", f"method.tune chooses {of} from it")


def centres(x: NDArray[np.float64], k: int, seed: int) -> NDArray[np.float64]:
    """Means of k clusters of the rows (T, D), or of as many as there are different rows. (k, D)"""
    k = min(k, len(np.unique(x, axis=0)))
    with threadpool_limits(1, user_api="openmp"):  # threads add up in whatever order they end
        found: NDArray[np.float64] = KMeans(k, n_init=1, random_state=seed).fit(x).cluster_centers_
    return found
