"""Rank-loss support instance machines (Briggs, Fern and Raich, KDD 2012; with Lou in ACM TKDD 7(3), 2013).

The objective and its turns are the paper's. Rebuilt are the features (standardised, with a constant), the number of
turns and steps, that the best turn is kept, and the rule of label sets, which the paper does not state: a threshold of
each label, the one with the fewest errors on the training bags.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.errors import UserError
from retdm.methods.components.shallow import check_positive, constant_labels, mean_and_deviation, smoothed_prior
from retdm.methods.components.svm import inverse_softsign_score
from retdm.methods.fitted import softsign_score
from retdm.methods.on_bags.base import TunedBagMethod, batches, scores_of

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


class RankLossSIM(TunedBagMethod):
    """A bag's score for a label is w_l . x_l, where x_l is the bag's support instance for the label.

    With ``softmax`` it is the sum of a_x x over the bag's instances, a the softmax of w_l . x; with ``max`` the one
    with the highest w_l . x. The weights minimise::

        1/2 lambda ||W||² + mean over bags of [mean over p in Y, q not in Y of max(0, 1 - (F_p - F_q))]

    by turns: with the support instances held (at first the bags' means) the problem is convex, and Pegasos takes
    ``steps`` steps, one bag each; then they are chosen again. The turn with the least objective is kept. Bags without
    two known labels of which one applies and the other does not teach nothing.

    Args:
        support: ``softmax`` or ``max``.
        penalty: lambda.
        rounds: turns.
        steps: of Pegasos, in each turn; the mean of the second half is its result.
        tune, candidates, fitted: see :class:`retdm.methods.on_bags.base.TunedBagMethod`.
    """

    tuned = ("penalty",)
    fitted_buffers = ("mean", "deviation", "weights", "constants", "thresholds")
    mean: Tensor  # (D,)
    deviation: Tensor  # (D,)
    weights: Tensor  # (L, D + 1), the last that of the constant feature 1
    constants: Tensor  # (L,) the value of a label of one class, NaN for others
    thresholds: Tensor  # (L,) of scores

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        support: Literal["softmax", "max"] = "softmax",
        penalty: float = 1e-2,
        rounds: int = 10,
        steps: int = 4000,
        candidates: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1),
        decide: str = "train_threshold",
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, candidates=candidates, decide=decide, **fitted)
        check_positive(penalty=penalty, rounds=rounds, steps=steps)
        if support not in ("softmax", "max"):
            raise UserError(f"method.support={support} is not known", "softmax or max")
        self.support, self.penalty, self.rounds, self.steps = support, penalty, rounds, steps
        self.objective: list[float] = []

    def fit_once(self, examples: Bags, target: NDArray[Any], known: NDArray[Any]) -> None:
        mean, deviation = mean_and_deviation(examples.instances.astype(np.float64), standardise=True)
        one = constant_labels(target, known)
        constants = np.where(one, inverse_softsign_score(smoothed_prior(target, known)), np.nan)
        zeros = np.zeros((len(self.labels), len(mean) + 1))  # all instances alike: support instances are means
        self.set_fitted(mean=mean, deviation=deviation, constants=constants, weights=zeros)
        carried, lacking = (target > 0) & (known > 0) & ~one, (target == 0) & (known > 0) & ~one
        draws = np.random.default_rng(self.seed)
        held = self._supports(examples, "softmax")
        turns, self.objective = [], []
        for _ in range(self.rounds):
            weights = pegasos(held, carried, lacking, self.penalty, self.steps, draws)
            self.set_fitted(weights=weights)
            held = self._supports(examples, self.support)
            turns.append(weights)
            self.objective.append(objective(weights, held, carried, lacking, self.penalty))
        self.set_fitted(weights=turns[int(np.argmin(self.objective))])
        scores = scores_of(self, examples)
        self.set_fitted(thresholds=thresholds_of(scores, target > 0, known > 0))

    def _supports(self, examples: Bags, kind: str) -> Array:
        """The support instances (n, L, D + 1) of all bags."""
        found = [self._attended(bag, mask, kind)[1].cpu() for bag, mask, _ in batches(examples, self.device)]
        supports: Array = torch.cat(found).numpy()
        return supports

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
        return softsign_score((support * self.weights).sum(2).where(self.constants.isnan(), self.constants))

    def instance_decision(self, bag: Tensor, mask: Tensor) -> Tensor:
        values, _ = self._attended(bag, mask, self.support)
        return softsign_score(values.where(self.constants.isnan(), self.constants))

    def details(self) -> dict[str, Any]:
        """The penalty that was used, and after each turn the objective with support instances chosen anew."""
        return super().details() | {"objective": self.objective}


def pegasos(
    supports: Array, carried: Bools, lacking: Bools, penalty: float, steps: int, draws: np.random.Generator
) -> Array:
    """Weights (L, D) that nearly minimise :func:`objective` (Shalev-Shwartz, Singer and Srebro, ICML 2007).

    Args:
        supports: (n, L, D), held.
        carried, lacking: (n, L), the labels to compare.
        penalty: lambda.
        steps: of one bag each, the t-th of length 1 / (lambda t).
        draws: of the bags.
    """
    pairs = [(np.flatnonzero(row), np.flatnonzero(other)) for row, other in zip(carried, lacking, strict=True)]
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


def objective(weights: Array, supports: Array, carried: Bools, lacking: Bools, penalty: float) -> float:
    """What is minimised: weights (L, D), supports (n, L, D), carried and lacking (n, L)."""
    f = np.einsum("ld,nld->nl", weights, supports)
    losses = []
    for row, p, q in zip(f, carried, lacking, strict=True):
        if p.any() and q.any():
            losses.append(np.maximum(0, 1 - (row[p][:, None] - row[q])).mean())
    return float(penalty / 2 * (weights**2).sum() + (np.mean(losses) if losses else 0))


def thresholds_of(scores: Array, carried: Bools, known: Bools) -> Array:
    """For each label the threshold with the fewest errors among its known cells, at a tie the highest. (n, L) -> (L,)

    Thresholds lie midway between neighbouring distinct scores, and between the outer ones and 0 and 1. A score of at
    least the threshold is a yes.
    """
    found = np.full(scores.shape[1], 0.5)
    for label in range(scores.shape[1]):
        rows = known[:, label]
        values, marks = scores[rows, label], carried[rows, label]
        if not len(values):
            continue
        distinct, place = np.unique(values, return_inverse=True)
        yes = np.bincount(place, marks, len(distinct))
        no = np.bincount(place, ~marks, len(distinct))
        # Errors with the threshold below the k-th distinct score: positives under it, negatives from it on.
        errors = np.append(0, yes.cumsum()) + no.sum() - np.append(0, no.cumsum())
        edges = np.concatenate([[0], distinct, [1]])
        best = len(errors) - 1 - int(np.argmin(errors[::-1]))
        found[label] = (edges[best] + edges[best + 1]) / 2
    return found
