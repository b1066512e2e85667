"""LMMO-kNN (Liu & Tsang, AAAI 2015; Liu, Xu, Tsang & Zhang, TPAMI 2019): nearest neighbours under a fitted metric.

Notation: n training rows, F features, L labels, U places of neighbours, k neighbours.

Images are mapped to the space of label sets by ridge regression, p = xV, and a metric Q is fitted there under which an
image lies nearer to its own label set y than to the sets z of its neighbours, by a margin of their Hamming distance:

    min over Q ⪰ 0 of  ½‖Q‖² + C · mean over (i, z) of  max(0, Δ(y_i, z) + d(p_i, y_i) − d(p_i, z))²,
    d(p, y) = (p − y)ᵀ Q (p − y).

An image's score is the mean label set of its k nearest training rows. The authors' code was not at hand. They have one
slack an image, the largest over its neighbours; here each neighbour has its own, which makes the objective smooth.
"""

import logging
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.methods.components.labels import Array, Bools, constant_scores, smoothed_prior
from retdm.methods.components.neighbours import nearest
from retdm.methods.components.standardise import standardised
from retdm.methods.on_features.base import FeatureMethod
from retdm.ranges import Above, AtLeast

log = logging.getLogger("retdm")

Votes = Literal["equal", "weighted"]
Neighbours = Literal["labels", "images"]
ROUNDS, TOLERANCE = 500, 1e-7  # of the gradient method; relative fall of the objective


class LMMOkNN(FeatureMethod):
    """The mean label set of the k training rows that are nearest in the space of label sets, under a fitted metric.

    An unknown cell counts as its label's smoothed prior, and the margin counts no cell that is unknown in either set;
    the ridge regression of a label reads the rows where it is known. A constant label scores
    (positives + 1) / (rows + 2).

    Args:
        k: neighbours, in training and in scoring.
        ridge: penalty of the regression's squares against the sum of squared errors.
        C: weight of the violations against ½‖Q‖².
        neighbours: what an image is compared with: the training ``images``, as the regression maps them, or their
            ``labels``, where rows of equal label sets are all at the same distance. The papers allow both readings.
        votes: ``weighted``: each of the k nearest distinct places votes with the number of its rows divided by its
            squared distance; with images a score is 0 or 1 where all neighbours agree, with labels scores seldom tie
            but lie near one half. ``equal``: each of the k nearest rows has one vote; with labels one frequent set
            takes all votes.
        standardise: subtract each feature's mean over the training rows and divide by its deviation.
        fitted: see :class:`retdm.methods.on_features.base.FeatureMethod`.
    """

    candidates = {"ridge": (3000.0, 1000.0, 300.0, 100.0, 30.0)}
    projection: Tensor  # V, (F, L)
    intercept: Tensor  # (L,)
    root: Tensor  # (L, L), Q = root rootᵀ
    places: Tensor  # (U, L), after ``root``
    sets: Tensor  # (U, L) label set of each place
    rows_at: Tensor  # (U,) training rows at each place
    constant: Tensor  # (L,) scores of constant labels, NaN of others

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        k: Annotated[int, AtLeast(1)] = 20,
        ridge: Annotated[float, Above(0)] = 300.0,
        C: Annotated[float, Above(0)] = 100.0,
        neighbours: Neighbours = "images",
        votes: Votes = "weighted",
        standardise: bool = True,
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        self.k, self.ridge, self.C, self.neighbours, self.votes = k, ridge, C, neighbours, votes
        self.standardise = standardise
        self.objective: list[float] = []

    def fit(self, examples: NDArray[Any], target: NDArray[Any], known: NDArray[Any]) -> None:
        super().fit(examples, target, known)
        first, last = self.objective[0], self.objective[-1]
        log.info("metric: objective %.6g, after %d rounds %.6g", first, len(self.objective) - 1, last)

    def fit_once(self, examples: NDArray[Any], target: NDArray[Any], known: Bools) -> None:
        x, mean, deviation = standardised(np.asarray(examples, np.float64), self.standardise)
        y = np.where(known, target > 0, smoothed_prior(target, known))
        v, intercept = ridge_lines(x, y, known, self.ridge)
        mapped = x @ v + intercept
        rows = torch.from_numpy(x).to(self.device)
        near = nearest(rows, rows, min(self.k, len(x) - 1)).cpu().numpy()
        pair = rivals(y, near)
        margin = ((y[pair[:, 0]] != y[pair[:, 1]]) & known[pair[:, 0]] & known[pair[:, 1]]).sum(1).astype(float)
        own, other = mapped - y, mapped[pair[:, 0]] - y[pair[:, 1]]
        q, self.objective = fit_metric(own, other, pair[:, 0], margin, self.C)
        values, vectors = np.linalg.eigh(q)
        root = vectors * np.sqrt(values.clip(0))
        sets, places, rows_at = y, mapped @ root, np.ones(len(y))
        if self.neighbours == "labels":
            sets, counts = np.unique(y, axis=0, return_counts=True)
            places, rows_at = sets @ root, counts.astype(float)
        v = v / deviation[:, None]
        self.set_fitted(
            projection=v,
            intercept=intercept - mean @ v,
            root=root,
            places=places,
            sets=sets,
            rows_at=rows_at,
            constant=constant_scores(target, known),
        )

    def decision(self, features: Tensor) -> Tensor:
        mapped = (features @ self.projection + self.intercept) @ self.root
        # Direct differences: a product of matrices would lose the digits of small distances.
        distance = torch.cdist(mapped, self.places, compute_mode="donot_use_mm_for_euclid_dist")
        distance, near = distance.topk(min(self.k, len(self.places)), largest=False)  # (B, at most k)
        rows = self.rows_at[near]
        if self.votes == "equal":
            weight = (self.k - rows.cumsum(1) + rows).clamp(min=0).minimum(rows)
        else:
            weight = rows / distance.square().clamp(min=1e-12)
        scores = (weight[:, None] @ self.sets[near])[:, 0] / weight.sum(1, keepdim=True)
        return torch.where(self.constant.isnan(), scores.clamp(0, 1), self.constant)

    def details(self) -> dict[str, Any]:
        """The ridge that was used, and the objective of the metric, round by round."""
        return super().details() | {"objective": self.objective}


def ridge_lines(x: Array, y: Array, known: Bools, penalty: float) -> tuple[Array, Array]:
    """Ridge regression of each label on the rows where it is known; intercepts are not penalised.

    Args:
        x: (n, F).
        y: (n, L).
        known: (n, L).
        penalty: of squared coefficients against the sum of squared errors.

    Returns:
        Coefficients (F, L), intercepts (L,); both are 0 for a label that is known nowhere.
    """
    coefficients, intercepts = np.zeros((x.shape[1], y.shape[1])), np.zeros(y.shape[1])
    patterns, which = np.unique(known, axis=1, return_inverse=True)  # labels known in the same rows: one solution
    for number in range(patterns.shape[1]):
        rows, labels = patterns[:, number], which.reshape(-1) == number
        if rows.any():
            solved = Ridge(alpha=penalty, solver="cholesky").fit(x[rows], y[rows][:, labels])
            coefficients[:, labels] = solved.coef_.reshape(-1, x.shape[1]).T  # one label's come without their axis
            intercepts[labels] = solved.intercept_
    return coefficients, intercepts


def rivals(y: Array, near: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of rows (i, j), one a constraint: j is i's nearest neighbour with its label set, which is not i's.

    Args:
        y: (n, L) label sets.
        near: (n, k) neighbours, the nearest first.

    Returns:
        (m, 2)
    """
    _, same = np.unique(y, axis=0, return_inverse=True)
    same = same.reshape(-1)
    pairs = [
        (i, near[i, place])
        for i in range(len(y))
        for place in np.sort(np.unique(same[near[i]], return_index=True)[1])
        if same[near[i, place]] != same[i]
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def fit_metric(own: Array, other: Array, row: NDArray[np.int64], margin: Array, C: float) -> tuple[Array, list[float]]:
    """The metric of this module's objective, by accelerated projected gradient that never lets the objective rise.

    Args:
        own: (n, L) p_i − y_i.
        other: (m, L) p_i − z of each constraint.
        row: (m,) the constraint's i.
        margin: (m,) Δ(y_i, z).
        C: weight of the violations.

    Returns:
        Q (L, L), symmetric and positive semidefinite, and the objective from the identity on; with no constraint the
        identity.
    """
    q = np.eye(own.shape[1])
    if len(row) == 0:
        return q, [0.0]

    def value_and_gradient(q: Array) -> tuple[float, Array]:
        slack = (margin + _squares(own, q)[row] - _squares(other, q)).clip(0)
        on_own = np.bincount(row, slack, len(own))
        gradient = q + 2 * C / len(row) * ((own.T * on_own) @ own - (other.T * slack) @ other)
        return float((q**2).sum() / 2 + C * (slack**2).mean()), gradient

    objective = [value_and_gradient(q)[0]]
    before, momentum, step = q, 1.0, 1.0
    for _ in range(ROUNDS):
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        start = q + (momentum - 1) / following * (q - before)
        value, gradient = value_and_gradient(start)
        while True:
            found = _positive_part(start - step * gradient)
            change = found - start
            reached = value_and_gradient(found)[0]
            if reached <= value + (gradient * change).sum() + (change**2).sum() / (2 * step) + 1e-12 * abs(value):
                break
            step /= 2
        if reached > objective[-1]:
            if momentum == 1:
                break  # a plain step falls, but for rounding: this is the lowest there is
            momentum, before = 1.0, q
            continue
        before, q, momentum = q, found, following
        objective.append(reached)
        if objective[-2] - reached <= TOLERANCE * reached:
            break
    return q, objective


def _squares(vectors: Array, q: Array) -> Array:
    """vᵀ Q v of each vector. (m, L) -> (m,)"""
    squares: Array = ((vectors @ q) * vectors).sum(1)
    return squares


def _positive_part(q: Array) -> Array:
    values, vectors = np.linalg.eigh((q + q.T) / 2)
    part: Array = (vectors * values.clip(0)) @ vectors.T
    return part
