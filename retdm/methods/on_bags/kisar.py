"""KISAR, key instance sharing among related labels (Li, Hu, Jiang and Zhou, AAAI 2012); a reconstruction.

Known are the paper's parameters (C of 500, at most 1,000 prototypes, five ways to relate labels, at most 20 rounds) and
its mixed norm. Rebuilt are the width of the map, that the norm is squared pair by pair, that every label stands in a
pair with itself, and the rule of label sets, which is the sign.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.svm import SVC
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.errors import UserError
from retdm.methods.components.shallow import (
    check_positive,
    clusters,
    constant_labels,
    mean_and_deviation,
    smoothed_prior,
)
from retdm.methods.components.svm import SMALL, inverse_softsign_score
from retdm.methods.fitted import softsign_score
from retdm.methods.on_bags.base import TunedBagMethod, batches

Array = NDArray[np.float64]
Relation = Literal["none", "all", "above_mean", "above_mean_of_pairs", "conditional"]
CHUNK = 1 << 22  # distances that are held at once
ENOUGH = 1e-3  # relative fall of the objective that is worth another round
TINY = 1e-4  # what keeps the norm of a pair from 0, of which it could not come back


class KISAR(TunedBagMethod):
    """Linear machines on the likeness of a bag to prototypes, which related labels choose together.

    s_k(X) = max over x in X of exp(-||x - c_k||² / delta), the prototypes c being means of clusters of the training
    instances and delta the mean of their squared distances. f_l = w_l . s + b_l minimise::

        1/2 sum over related pairs (a, b) of (sum over prototypes k of ||(w_ka, w_kb)||)² + C * hinge losses

    by turns: a pair's squared sum is the least over weights mu on the simplex of sum ||.||² / mu, so with mu held each
    label is a linear machine on scaled features, and with the machines held mu is each norm's share of the pair's sum.

    Args:
        prototypes: how many; at most as many as there are different instances.
        relation: which pairs share, each label with itself beside them: ``none``, ``all``; pairs that occur together
            more often than the mean over the table of such counts (``above_mean``) or over its cells off the diagonal
            (``above_mean_of_pairs``); ``conditional``, in more than a tenth of the bags of the rarer one.
        C: weight of the losses.
        rounds: at most.
        standardise: divide each feature by its deviation over the training instances.
        tune, candidates, fitted: see :class:`retdm.methods.on_bags.base.TunedBagMethod`. The paper names no grid: the
            default one is its C, ten times that, and less.
    """

    tuned = ("C",)
    fitted_buffers = ("mean", "deviation", "prototypes", "delta", "coefficients", "intercepts")
    mean: Tensor  # (D,)
    deviation: Tensor  # (D,)
    prototypes: Tensor  # (K, D) standardised
    delta: Tensor  # ()
    coefficients: Tensor  # (L, K)
    intercepts: Tensor  # (L,)

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        prototypes: int = 200,
        relation: Relation = "above_mean_of_pairs",
        C: float = 500.0,
        rounds: int = 20,
        standardise: bool = True,
        candidates: Sequence[float] = (5.0, 50.0, 500.0, 5000.0),
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, candidates=candidates, **fitted)
        check_positive(prototypes=prototypes, C=C, rounds=rounds)
        if relation not in get_args(Relation):
            raise UserError(f"method.relation={relation} is not known", f"one of: {', '.join(get_args(Relation))}")
        self.most, self.relation, self.C, self.rounds, self.standardise = prototypes, relation, C, rounds, standardise
        self.objective: list[float] = []
        self.pairs: list[tuple[int, int]] = []

    def fit_once(self, examples: Bags, target: NDArray[Any], known: NDArray[Any]) -> None:
        x = examples.instances.astype(np.float64)
        mean, deviation = mean_and_deviation(x, self.standardise)
        x = (x - mean) / deviation
        found, _ = clusters(x, self.most, self.seed)
        squares = (x**2).sum(1).mean() + (found**2).sum(1).mean() - 2 * x.mean(0) @ found.mean(0)
        self.set_fitted(mean=mean, deviation=deviation, prototypes=found, delta=np.array(squares))
        s = torch.cat([self.likeness(bag, mask).cpu() for bag, mask, _ in batches(examples, self.device)]).numpy()
        one = constant_labels(target, known)
        table = related(((target > 0) & known).astype(np.float64), self.relation) & ~one & ~one[:, None]
        self.pairs = [(int(a), int(b)) for a, b in np.argwhere(np.triu(table))]
        coefficients, intercepts, self.objective = _solve(
            s, target > 0, known > 0, np.array(self.pairs).reshape(-1, 2), self.C, self.rounds
        )
        intercepts[one] = inverse_softsign_score(smoothed_prior(target, known))[one]
        self.set_fitted(coefficients=coefficients, intercepts=intercepts)

    def likeness(self, bag: Tensor, mask: Tensor) -> Tensor:
        """Bags (B, N, D) with their mask (B, N) to s (B, K)."""
        x = (bag - self.mean) / self.deviation
        chunk = max(1, CHUNK // max(1, x.shape[1] * len(self.prototypes)))
        found = []
        for part, there in zip(x.split(chunk), mask.split(chunk), strict=True):
            distance = torch.cdist(part, self.prototypes) ** 2
            found.append(distance.where(there[..., None], torch.inf).amin(1))
        return torch.exp(-torch.cat(found) / self.delta)

    def bag_decision(self, bag: Tensor, mask: Tensor, index: Tensor) -> Tensor:
        return softsign_score(self.likeness(bag, mask) @ self.coefficients.T + self.intercepts)

    def instance_decision(self, bag: Tensor, mask: Tensor) -> Tensor:
        """What a bag of that instance alone would score."""
        alone = bag.flatten(0, 1)[:, None]
        scores: Tensor = self.bag_decision(alone, alone.new_ones(alone.shape[:2], dtype=torch.bool), mask)
        per_instance: Tensor = scores.unflatten(0, mask.shape)
        return per_instance

    def details(self) -> dict[str, Any]:
        """C that was used; what is minimised, after each round; and which labels share."""
        named = [[self.labels[a], self.labels[b]] for a, b in self.pairs if a != b]
        found = {"objective": self.objective, "prototypes": len(self.prototypes), "related": named}
        return super().details() | found


def related(carried: Array, relation: Relation) -> NDArray[np.bool_]:
    """Which labels share, each with itself. (n, L) of 0 and 1 -> (L, L), symmetric."""
    together = carried.T @ carried
    alone = np.diag(together)
    off = ~np.eye(len(alone), dtype=bool)
    table: NDArray[np.bool_]
    if relation == "none":
        table = np.zeros_like(off)
    elif relation == "all":
        table = np.ones_like(off)
    elif relation == "above_mean":
        table = together > together.mean()
    elif relation == "above_mean_of_pairs":
        table = together > (together[off].mean() if off.any() else 0)
    else:
        table = together > 0.1 * np.minimum(alone, alone[:, None])
    return table | ~off


def _solve(
    s: Array, carried: NDArray[np.bool_], known: NDArray[np.bool_], pairs: NDArray[np.int64], C: float, rounds: int
) -> tuple[Array, Array, list[float]]:
    """Coefficients (L, K), intercepts (L,) and the objective after each round.

    Args:
        s: (n, K).
        carried, known: (n, L).
        pairs: (P, 2), a <= b, the two alike for a label itself; labels of no pair are not learnt.
        C, rounds: see :class:`KISAR`.
    """
    labels = np.unique(pairs)
    w, b = np.zeros((carried.shape[1], s.shape[1])), np.zeros(carried.shape[1])
    mu = np.full((len(pairs), s.shape[1]), 1 / s.shape[1])
    rows, signs = [s[known[:, j]] for j in labels], [np.where(carried[known[:, j], j], 1, -1) for j in labels]
    objective: list[float] = []
    # libsvm lets other threads run and draws nothing.
    with Parallel(n_jobs=-1 if s.size > SMALL else 1, prefer="threads") as parallel:
        for _ in range(rounds if len(labels) else 0):
            scales = [(1 / mu[(pairs == j).any(1)]).sum(0) ** -0.5 for j in labels]
            machines = parallel(
                delayed(SVC(kernel="linear", C=C, cache_size=500).fit)(x * scale, y)
                for x, scale, y in zip(rows, scales, signs, strict=True)
            )
            w[labels] = [machine.coef_[0] * scale for machine, scale in zip(machines, scales, strict=True)]
            b[labels] = [machine.intercept_[0] for machine in machines]
            losses = [
                np.maximum(0, 1 - y * (x @ w[j] + b[j])).sum() for j, x, y in zip(labels, rows, signs, strict=True)
            ]
            other = (pairs[:, 0] != pairs[:, 1])[:, None]
            norms = np.sqrt(w[pairs[:, 0]] ** 2 + w[pairs[:, 1]] ** 2 * other + TINY**2)
            mu = norms / norms.sum(1, keepdims=True)
            objective.append(float((norms.sum(1) ** 2).sum() / 2 + C * sum(losses)))
            if len(objective) > 1 and objective[-2] - objective[-1] < ENOUGH * objective[-2]:
                break
    return w, b, objective
