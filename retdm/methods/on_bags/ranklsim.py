"""Rank-loss support instance machines (Briggs, Fern and Raich, KDD 2012; with Lou in ACM TKDD 7(3), 2013).

The objective and its alternation are the paper's. Reconstructed are the features (standardised, with a constant), the
number of rounds and steps, keeping the best round, and the rule of label sets, which the paper does not state: each
label's threshold with the fewest errors on the training bags.
"""

from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.methods.components.labels import Array, Bools, constant_labels, constant_scores
from retdm.methods.components.softsign import inverse_softsign_score, softsign_score
from retdm.methods.components.standardise import mean_and_deviation
from retdm.methods.on_bags.base import BagMethod, over_bags
from retdm.methods.tuning import wrong_cells
from retdm.ranges import Above, AtLeast


class RankLossSIM(BagMethod):
    """A bag's score for a label is w_l . x_l, where x_l is the bag's support instance for the label.

    With ``softmax`` it is the sum of a_x x over the bag's instances, a the softmax of w_l . x; with ``max`` the one
    with the highest w_l . x. The weights minimise::

        1/2 lambda ||W||² + mean over bags of [mean over p in Y, q not in Y of max(0, 1 - (F_p - F_q))]

    in rounds: with the support instances fixed (at first the bags' means) the problem is convex, and Pegasos takes
    ``steps`` steps, one bag each; then they are chosen again. The round with the least objective is kept. Bags without
    a known positive and a known negative label do not count.

    Args:
        support: ``softmax`` or ``max``.
        penalty: lambda.
        rounds: of both in turn.
        steps: of Pegasos, in each round; its result is the mean over the second half.
        fitted: see :class:`retdm.methods.on_bags.base.BagMethod`. Trials are compared by the wrong cells at the
            method's own thresholds.
    """

    scores_instances = True
    has_thresholds = True
    candidates = {"penalty": (1e-4, 1e-3, 1e-2, 1e-1)}
    mean: Tensor  # (D,)
    deviation: Tensor  # (D,)
    weights: Tensor  # (L, D + 1), the last for the constant feature 1
    constant: Tensor  # (L,) decision values of constant labels, NaN of others
    thresholds: Tensor  # (L,) of scores

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        support: Literal["softmax", "max"] = "softmax",
        penalty: Annotated[float, Above(0)] = 1e-2,
        rounds: Annotated[int, AtLeast(1)] = 10,
        steps: Annotated[int, AtLeast(1)] = 4000,
        decide: str = "train_threshold",
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, decide=decide, **fitted)
        self.support, self.penalty, self.rounds, self.steps = support, penalty, rounds, steps
        self.objective: list[float] = []

    def fit_once(self, examples: Bags, target: NDArray[Any], known: Bools) -> None:
        mean, deviation = mean_and_deviation(examples.instances.astype(np.float64))
        counts = known & ~constant_labels(target, known)
        constant = inverse_softsign_score(constant_scores(target, known))
        zeros = np.zeros((len(self.labels), len(mean) + 1))  # with which all support instances are means
        self.set_fitted(mean=mean, deviation=deviation, constant=constant, weights=zeros)
        positive, negative = (target > 0) & counts, (target == 0) & counts
        draws = np.random.default_rng(self.seed)
        supports = self._supports(examples, "softmax")
        found, self.objective = [], []
        for _ in range(self.rounds):
            weights = pegasos(supports, positive, negative, self.penalty, self.steps, draws)
            self.set_fitted(weights=weights)
            supports = self._supports(examples, self.support)
            found.append(weights)
            self.objective.append(objective(weights, supports, positive, negative, self.penalty))
        self.set_fitted(weights=found[int(np.argmin(self.objective))])
        self.set_fitted(thresholds=thresholds_of(self.scores_of(examples), target > 0, known))

    def cross_validation_loss(self, scores: Array, target: NDArray[Any], known: Bools) -> float:
        return wrong_cells(scores, target, known, self.thresholds.cpu().numpy())

    def _supports(self, examples: Bags, kind: str) -> Array:
        """The support instances (n, L, D + 1) of all bags."""
        return over_bags(lambda bag, mask, _: self._attended(bag, mask, kind)[1], examples, self.device)

    def _attended(self, bag: Tensor, mask: Tensor, kind: str) -> tuple[Tensor, Tensor]:
        """w . x of instances (B, N, L), and support instances (B, L, D + 1)."""
        x = torch.cat([(bag - self.mean) / self.deviation, torch.ones_like(bag[..., :1])], 2)
        values = x @ self.weights.T
        logits = values.where(mask[..., None], -torch.inf)
        if kind == "softmax":
            share = logits.softmax(1)
        else:
            share = torch.zeros_like(values).scatter_(1, logits.argmax(1, keepdim=True), 1)
        return values, share.transpose(1, 2) @ x

    def bag_decision(self, bag: Tensor, mask: Tensor, index: Tensor) -> Tensor:
        _, support = self._attended(bag, mask, self.support)
        return softsign_score((support * self.weights).sum(2).where(self.constant.isnan(), self.constant))

    def instance_decision(self, bag: Tensor, mask: Tensor) -> Tensor:
        values, _ = self._attended(bag, mask, self.support)
        return softsign_score(values.where(self.constant.isnan(), self.constant))

    def details(self) -> dict[str, Any]:
        """The penalty that was used, and the objective after each round, with support instances chosen anew."""
        return super().details() | {"objective": self.objective}


def pegasos(
    supports: Array, positive: Bools, negative: Bools, penalty: float, steps: int, draws: np.random.Generator
) -> Array:
    """Weights (L, D) that nearly minimise :func:`objective` (Shalev-Shwartz, Singer and Srebro, ICML 2007).

    Args:
        supports: support instances (n, L, D).
        positive, negative: (n, L), the labels to compare.
        penalty: lambda.
        steps: of one bag each, the t-th of length 1 / (lambda t).
        draws: of the bags.
    """
    pairs = [(np.flatnonzero(row), np.flatnonzero(other)) for row, other in zip(positive, negative, strict=True)]
    usable = np.array([i for i, (p, q) in enumerate(pairs) if len(p) and len(q)], np.int64)
    weights = np.zeros(supports.shape[1:])
    total, most = np.zeros_like(weights), penalty**-0.5
    if not len(usable):
        return weights
    for t, i in enumerate(draws.choice(usable, steps), 1):
        x, (p, q) = supports[i], pairs[i]
        f = np.einsum("ld,ld->l", weights, x)
        violated = f[p][:, None] - f[q] < 1
        slope = np.zeros(len(weights))
        slope[p], slope[q] = violated.sum(1), -violated.sum(0)
        weights *= 1 - 1 / t
        weights += (slope / (violated.size * penalty * t))[:, None] * x
        norm = np.sqrt(np.einsum("ld,ld->", weights, weights))
        if norm > most:  # no minimum lies farther out
            weights *= most / norm
        if 2 * t > steps:
            total += weights
    mean: Array = total / (steps - steps // 2)
    return mean


def objective(weights: Array, supports: Array, positive: Bools, negative: Bools, penalty: float) -> float:
    """The objective of :class:`RankLossSIM`: weights (L, D), supports (n, L, D), positive and negative (n, L)."""
    f = np.einsum("ld,nld->nl", weights, supports)
    losses = []
    for row, p, q in zip(f, positive, negative, strict=True):
        if p.any() and q.any():
            losses.append(np.maximum(0, 1 - (row[p][:, None] - row[q])).mean())
    return float(penalty / 2 * (weights**2).sum() + (np.mean(losses) if losses else 0))


def thresholds_of(scores: Array, positive: Bools, known: Bools) -> Array:
    """Each label's threshold with the fewest errors among its known cells, at a tie the highest. (n, L) -> (L,)

    Thresholds lie midway between neighbouring distinct scores, and between the outer ones and 0 and 1. A score of at
    least the threshold is a positive.
    """
    found = np.full(scores.shape[1], 0.5)
    for label in range(scores.shape[1]):
        rows = known[:, label]
        values, truth = scores[rows, label], positive[rows, label]
        if not len(values):
            continue
        distinct, place = np.unique(values, return_inverse=True)
        positives = np.bincount(place, truth, len(distinct))
        negatives = np.bincount(place, ~truth, len(distinct))
        # Errors with the threshold below the k-th distinct score: positives under it, negatives from it on.
        errors = np.append(0, positives.cumsum()) + negatives.sum() - np.append(0, negatives.cumsum())
        edges = np.concatenate([[0], distinct, [1]])
        best = len(errors) - 1 - int(np.argmin(errors[::-1]))
        found[label] = (edges[best] + edges[best + 1]) / 2
    return found
