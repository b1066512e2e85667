"""ML-kNN (Zhang & Zhou, Pattern Recognition 2007): how many of the k nearest images carry a label, by Bayes' rule."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.methods.components.shallow import (
    check_grid,
    check_positive,
    constant_labels,
    leave_out_oneself,
    mean_and_deviation,
    smoothed_prior,
    tuned,
)
from retdm.methods.fitted import FittedMethod

CHUNK = 1024  # rows whose distances to all others are held at once


class MLkNN(FittedMethod):
    """For each label, the posterior of carrying it given how many of the k nearest training rows carry it.

    Prior and likelihoods are counts over the training rows, each with its own neighbours, smoothed by ``smoothing``.
    Distance is Euclidean. A label's neighbours are the k nearest rows where it is known (all others are passed over),
    and its counts are over such rows. A label of one class scores (positives + 1) / (rows + 2) everywhere.

    Args:
        k: neighbours; all there are where a label is known in fewer rows.
        smoothing: s of the paper, added to every count.
        standardise: divide each feature by its deviation over the training rows.
        tune: choose k of ``grid`` by the log-loss of 5 folds of the training rows.
        grid: values of k.
        fitted: see :class:`retdm.methods.fitted.FittedMethod`.
    """

    fitted_buffers = ("rows", "target", "known", "deviation", "prior", "likelihood")
    rows: Tensor  # (n, F) as they came
    target: Tensor  # (n, L) bool
    known: Tensor  # (n, L) bool
    deviation: Tensor  # (F,)
    prior: Tensor  # (L,)
    likelihood: Tensor  # (2, L, k + 1): of each count among rows without and with the label

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        k: int = 10,
        smoothing: float = 1.0,
        standardise: bool = False,
        tune: bool = False,
        grid: Sequence[int] = (5, 10, 20, 40),
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        check_positive(k=k, smoothing=smoothing)
        if tune:
            check_grid(grid, "k")
        self.k, self.smoothing, self.standardise = k, smoothing, standardise
        self.tune, self.grid = tune, tuple(sorted(grid))

    def fit(self, examples: NDArray[Any], target: NDArray[Any], known: NDArray[Any]) -> None:
        if self.tune:
            self.k = tuned(self, "k", self.grid, examples, target, known)
        self.fit_once(examples, target, known)

    def fit_once(self, examples: NDArray[Any], target: NDArray[Any], known: NDArray[Any]) -> None:
        """:meth:`fit` with k as it stands."""
        _, deviation = mean_and_deviation(np.asarray(examples, np.float64), self.standardise)
        carried = (target > 0) & known
        self.set_fitted(
            rows=np.ascontiguousarray(examples), target=carried, known=known.astype(bool), deviation=deviation
        )
        counts = self._counts(self.rows.double(), self.k, own=True).cpu().numpy()
        likelihood = np.empty((2, len(self.labels), self.k + 1))
        for label in range(len(self.labels)):
            for mark in (0, 1):
                rows = known[:, label].astype(bool) & (carried[:, label] == mark)
                likelihood[mark, label] = self.smoothing + np.bincount(counts[rows, label], minlength=self.k + 1)
        likelihood /= likelihood.sum(2, keepdims=True)
        prior = (self.smoothing + carried.sum(0)) / (2 * self.smoothing + known.sum(0))
        one = constant_labels(target, known)
        likelihood[:, one] = 1  # says nothing: the prior stays
        prior[one] = smoothed_prior(target, known)[one]
        self.set_fitted(prior=prior, likelihood=likelihood)

    def decision(self, features: Tensor) -> Tensor:
        k = self.likelihood.shape[2] - 1  # which may be a tuned one
        counts = self._counts(features, k, own=False)  # (B, L)
        label = torch.arange(counts.shape[1], device=counts.device)
        without, carrying = self.likelihood[:, label, counts]
        carrying = carrying * self.prior
        scores: Tensor = carrying / (carrying + without * (1 - self.prior))
        return scores

    def details(self) -> dict[str, Any]:
        """The k that was used."""
        return {"k": self.k}

    def _counts(self, features: Tensor, k: int, *, own: bool) -> Tensor:
        """How many of each row's k nearest carry each label, int64 (B, L); ``own``: the rows are the kept ones."""
        rows = self.rows.double() / self.deviation
        usable = (self.known.sum(0) - 1).clamp(0, k).tolist()  # a kept row has itself not
        all_known = bool(self.known.all())
        found = []
        for start in range(0, len(features), CHUNK):
            distance = torch.cdist(features[start : start + CHUNK] / self.deviation, rows)  # (b, n)
            if own:
                leave_out_oneself(distance, start)
            if all_known:
                near = distance.topk(usable[0], largest=False).indices  # (b, k)
                found.append(self.target[near].sum(1))
                continue
            columns = []
            for label, most in enumerate(usable):
                near = distance.masked_fill(~self.known[:, label], torch.inf).topk(most, largest=False).indices
                columns.append(self.target[:, label][near].sum(1))
            found.append(torch.stack(columns, 1))
        return torch.cat(found)
