"""KISAR, key instance sharing among related labels (Li, Hu, Jiang and Zhou, AAAI 2012); a reconstruction.

From the paper are the parameters (C of 500, at most 1,000 prototypes, five ways to relate labels, at most 20 rounds)
and the mixed norm. Reconstructed are the width of the map, the norm being squared pair by pair, every label forming a
pair with itself, and the rule of label sets, which is the sign.
"""

from typing import Annotated, Any, Literal

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.svm import SVC
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.methods.components.classifiers import SMALL
from retdm.methods.components.clustering import k_means
from retdm.methods.components.labels import Array, Bools, constant_labels, smoothed_prior
from retdm.methods.components.softsign import inverse_softsign_score, softsign_score
from retdm.methods.components.standardise import standardised
from retdm.methods.on_bags.base import BagMethod, over_bags
from retdm.ranges import Above, AtLeast

Relation = Literal["none", "all", "above_mean", "above_mean_of_pairs", "conditional"]
CHUNK = 1 << 22  # distances that are held at once
ENOUGH = 1e-3  # relative fall of the objective below which no further round follows
TINY = 1e-4  # keeps the norm of a pair above 0, from where it could not rise again


class KISAR(BagMethod):
    """Linear machines on the similarity of a bag to prototypes, which related labels choose together.

    s_k(X) = max over x in X of exp(-||x - c_k||² / delta), the prototypes c being means of clusters of the training
    instances and delta the mean of their squared distances. f_l = w_l . s + b_l minimise::

        1/2 sum over related pairs (a, b) of (sum over prototypes k of ||(w_ka, w_kb)||)² + C * hinge losses

    by turns: a pair's squared sum is the least over weights mu on the simplex of sum ||.||² / mu, so with mu fixed each
    label is a linear machine on scaled features, and with the machines fixed mu is each norm's share of the pair's sum.

    Args:
        prototypes: their number; at most as many as there are different instances.
        relation: pairs of labels that share prototypes, beside each label with itself: ``none``, ``all``; those that
            occur together more often than the mean over the table of such counts (``above_mean``) or over its cells
            off the diagonal (``above_mean_of_pairs``), or in more than a tenth of the rarer one's bags
            (``conditional``).
        C: weight of the losses.
        rounds: at most.
        standardise: divide each feature by its deviation over the training instances.
        fitted: see :class:`retdm.methods.on_bags.base.BagMethod`. The paper names no candidates: ours are its C, ten
            times that, and less.
    """

    scores_instances = True
    candidates = {"C": (5.0, 50.0, 500.0, 5000.0)}
    mean: Tensor  # (D,)
    deviation: Tensor  # (D,)
    centres: Tensor  # (K, D) the prototypes, standardised
    delta: Tensor  # ()
    coefficients: Tensor  # (L, K)
    intercepts: Tensor  # (L,)

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        prototypes: Annotated[int, AtLeast(1)] = 200,
        relation: Relation = "above_mean_of_pairs",
        C: Annotated[float, Above(0)] = 500.0,
        rounds: Annotated[int, AtLeast(1)] = 20,
        standardise: bool = True,
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        self.prototypes, self.relation, self.C, self.rounds = prototypes, relation, C, rounds
        self.standardise = standardise
        self.objective: list[float] = []
        self.pairs: list[tuple[int, int]] = []

    def fit_once(self, examples: Bags, target: NDArray[Any], known: Bools) -> None:
        x, mean, deviation = standardised(examples.instances.astype(np.float64), self.standardise)
        found, _ = k_means(x, self.prototypes, self.seed)
        squares = (x**2).sum(1).mean() + (found**2).sum(1).mean() - 2 * x.mean(0) @ found.mean(0)
        self.set_fitted(mean=mean, deviation=deviation, centres=found, delta=np.array(squares))
        s = over_bags(lambda bag, mask, _: self.similarity(bag, mask), examples, self.device)
        constant = constant_labels(target, known)
        table = related(((target > 0) & known).astype(np.float64), self.relation) & ~constant & ~constant[:, None]
        self.pairs = [(int(a), int(b)) for a, b in np.argwhere(np.triu(table))]
        coefficients, intercepts, self.objective = _solve(
            s, target > 0, known, np.array(self.pairs).reshape(-1, 2), self.C, self.rounds
        )
        intercepts[constant] = inverse_softsign_score(smoothed_prior(target, known))[constant]
        self.set_fitted(coefficients=coefficients, intercepts=intercepts)

    def similarity(self, bag: Tensor, mask: Tensor) -> Tensor:
        """s (B, K) of bags (B, N, D) with their mask (B, N)."""
        x = (bag - self.mean) / self.deviation
        chunk = max(1, CHUNK // max(1, x.shape[1] * len(self.centres)))
        found = []
        for part, there in zip(x.split(chunk), mask.split(chunk), strict=True):
            distance = torch.cdist(part, self.centres) ** 2
            found.append(distance.where(there[..., None], torch.inf).amin(1))
        return torch.exp(-torch.cat(found) / self.delta)

    def bag_decision(self, bag: Tensor, mask: Tensor, index: Tensor) -> Tensor:
        return softsign_score(self.similarity(bag, mask) @ self.coefficients.T + self.intercepts)

    def instance_decision(self, bag: Tensor, mask: Tensor) -> Tensor:
        """The score of a bag of that instance alone."""
        alone = bag.flatten(0, 1)[:, None]
        scores: Tensor = self.bag_decision(alone, alone.new_ones(alone.shape[:2], dtype=torch.bool), mask)
        per_instance: Tensor = scores.unflatten(0, mask.shape)
        return per_instance

    def details(self) -> dict[str, Any]:
        """C that was used, the objective after each round, the number of prototypes, and the related labels."""
        named = [[self.labels[a], self.labels[b]] for a, b in self.pairs if a != b]
        found = {"objective": self.objective, "prototypes": len(self.centres), "related": named}
        return super().details() | found


def related(positive: Array, relation: Relation) -> Bools:
    """The pairs of labels that share prototypes, each label with itself. (n, L) of 0 and 1 -> (L, L), symmetric."""
    together = positive.T @ positive
    alone = np.diag(together)
    off = ~np.eye(len(alone), dtype=bool)
    table: Bools
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
    s: Array, positive: Bools, known: Bools, pairs: NDArray[np.int64], C: float, rounds: int
) -> tuple[Array, Array, list[float]]:
    """Coefficients (L, K), intercepts (L,) and the objective after each round.

    Args:
        s: (n, K).
        positive, known: (n, L).
        pairs: (P, 2), a <= b, a = b for a label with itself; a label of no pair gets zeros.
        C, rounds: see :class:`KISAR`.
    """
    labels = np.unique(pairs)
    w, b = np.zeros((positive.shape[1], s.shape[1])), np.zeros(positive.shape[1])
    mu = np.full((len(pairs), s.shape[1]), 1 / s.shape[1])
    rows, signs = [s[known[:, j]] for j in labels], [np.where(positive[known[:, j], j], 1, -1) for j in labels]
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
