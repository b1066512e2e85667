"""ML-kNN (Zhang & Zhou, Pattern Recognition 2007): how many of the k nearest images have a label, by Bayes' rule."""

from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.methods.components.labels import Bools, constant_labels, smoothed_prior
from retdm.methods.components.neighbours import leave_out_oneself
from retdm.methods.components.standardise import mean_and_deviation
from retdm.methods.on_features.base import FeatureMethod
from retdm.ranges import Above, AtLeast

CHUNK = 1024  # rows whose distances to all others are held at once


class MLkNN(FeatureMethod):
    """The posterior probability of a label, given how many of the k nearest training rows have it.

    Prior and likelihoods are counts over the training rows, each with its own neighbours, smoothed by ``smoothing``.
    Distance is Euclidean. A label's neighbours are the k nearest rows where it is known (all others are passed over),
    and its counts are over such rows. A constant label scores (positives + 1) / (rows + 2) everywhere.

    Args:
        k: neighbours; all there are where a label is known in fewer rows.
        smoothing: s of the paper, added to every count.
        standardise: divide each feature by its deviation over the training rows.
        fitted: see :class:`retdm.methods.on_features.base.FeatureMethod`.
    """

    candidates = {"k": (5, 10, 20, 40)}
    rows: Tensor  # (n, F), not standardised
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
        k: Annotated[int, AtLeast(1)] = 10,
        smoothing: Annotated[float, Above(0)] = 1.0,
        standardise: bool = False,
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        self.k, self.smoothing, self.standardise = k, smoothing, standardise

    def fit_once(self, examples: NDArray[Any], target: NDArray[Any], known: Bools) -> None:
        _, deviation = mean_and_deviation(np.asarray(examples, np.float64), self.standardise)
        positive = (target > 0) & known
        self.set_fitted(rows=np.ascontiguousarray(examples), target=positive, known=known, deviation=deviation)
        counts = self._counts(self.rows.double(), self.k, own=True).cpu().numpy()
        likelihood = np.empty((2, len(self.labels), self.k + 1))
        for label in range(len(self.labels)):
            for value in (0, 1):
                rows = known[:, label] & (positive[:, label] == value)
                likelihood[value, label] = self.smoothing + np.bincount(counts[rows, label], minlength=self.k + 1)
        likelihood /= likelihood.sum(2, keepdims=True)
        prior = (self.smoothing + positive.sum(0)) / (2 * self.smoothing + known.sum(0))
        constant = constant_labels(target, known)
        likelihood[:, constant] = 1  # so that the posterior is the prior
        prior[constant] = smoothed_prior(target, known)[constant]
        self.set_fitted(prior=prior, likelihood=likelihood)

    def decision(self, features: Tensor) -> Tensor:
        counts = self._counts(features, self.k, own=False)  # (B, L)
        label = torch.arange(counts.shape[1], device=counts.device)
        without, having = self.likelihood[:, label, counts]
        having = having * self.prior
        scores: Tensor = having / (having + without * (1 - self.prior))
        return scores

    def _counts(self, features: Tensor, k: int, *, own: bool) -> Tensor:
        """How many of a row's k nearest training rows have each label, int64 (B, L).

        With ``own`` the rows are the training rows, and none is its own neighbour.
        """
        rows = self.rows.double() / self.deviation
        usable = (self.known.sum(0) - 1).clamp(0, k).tolist()  # a training row's others
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
