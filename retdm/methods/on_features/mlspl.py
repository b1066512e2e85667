"""MLSPL, a reconstruction: self-paced multi-label learning (Li et al., TNNLS 2018) on the local codes of MLLOC.

MLLOC (Huang & Zhou, AAAI 2012) gives every training image a code c on the simplex over m groups of label sets, and lets
classifiers read it beside the features. MLSPL weighs each cell (image, label) by how easy it is at present, and counts
more and more of them. Notation: n rows, F features, L labels, m groups. With y in {-1, 1},

    min over w, u, b, c, p, v of  Σ_il [v_il · loss(y_il (x_i w_l + c_i u_l + b_l)) + g(v_il; λ_il)]
                                  + penalty · (Σ w² + Σ u²)  +  locality · Σ_ij c_ij ‖y_i − p_j‖².

Neither paper's text nor code was at hand. What is ours: the loss is logistic where MLLOC has a hinge (easy cells would
have a loss of exactly 0, and no pace could tell them apart); λ is a quantile of the present losses, which rises from
round to round, for each label's positives and negatives by themselves (one λ for all cells counts the negatives first,
which are many and easy, and the positives then never come back); the logarithmic scheme, whose λ has to stay below 1,
measures losses in units of λ; codes of new images come from a ridge regression, taken to the simplex.
"""

import logging
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, xlogy
from sklearn.linear_model import Ridge
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.errors import UserError
from retdm.methods.components.shallow import (
    Array,
    Bools,
    check_grid,
    check_positive,
    clusters,
    constant_labels,
    mean_and_deviation,
    smoothed_prior,
    tuned,
)
from retdm.methods.fitted import FittedMethod

log = logging.getLogger("retdm")

Pace = Literal["hard", "linear", "log", "logistic", "none"]
CODE_STEPS = 50  # of the projected gradient, each round from where it stands
LOG_LIMIT = 0.9  # λ of the logarithmic scheme, after losses are divided by what makes it that


class MLSPL(FittedMethod):
    """Logistic classifiers on features and local codes, learnt from easy cells to hard ones. A reconstruction.

    A score is the sigmoid of x·w + ĉ·u + b. Unknown cells have no loss and no share in distances and group centres. A
    label of one class is left out and scores (positives + 1) / (rows + 2).

    Args:
        pace: how a loss becomes a cell's weight, see :func:`cell_weights`; ``none`` weighs all alike, which is MLLOC.
        start: share of the cells whose loss lies below λ in the first round; in the last all do.
        rounds: each weighs the cells and takes one step in classifiers, codes and groups. Without a pace they end early
            where the objective does not fall any more.
        groups: m, no more than there are distinct label sets.
        penalty: of the classifiers' squares, but for b (λ1 of MLLOC, where it is 1).
        locality: weight of the codes' distances to the groups (λ2 of MLLOC).
        code_ridge: penalty of the regression from features to codes.
        standardise: divide each feature by its deviation over the training rows, its mean taken off.
        tune: choose ``penalty`` of ``grid`` by the log-loss of 5 folds of the training rows.
        grid: values of ``penalty``.
        fitted: see :class:`retdm.methods.fitted.FittedMethod`.
    """

    fitted_buffers = (
        "coefficients",
        "intercepts",
        "code_coefficients",
        "code_projection",
        "code_intercept",
        "constant",
    )
    coefficients: Tensor  # w, (F, L)
    intercepts: Tensor  # b, (L,)
    code_coefficients: Tensor  # u, (m, L)
    code_projection: Tensor  # (F, m)
    code_intercept: Tensor  # (m,)
    constant: Tensor  # (L,) score of a label of one class, NaN of others

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        pace: Pace = "logistic",
        start: float = 0.5,
        rounds: int = 10,
        groups: int = 15,
        penalty: float = 30.0,
        locality: float = 100.0,
        code_ridge: float = 1000.0,
        standardise: bool = True,
        tune: bool = False,
        grid: Sequence[float] = (3.0, 10.0, 30.0, 100.0, 300.0),
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        if pace not in get_args(Pace):
            raise UserError(f"method.pace={pace} is not known", f"it is one of: {', '.join(get_args(Pace))}")
        check_positive(start=start, rounds=rounds, groups=groups, penalty=penalty)
        check_positive(locality=locality, code_ridge=code_ridge)
        if start > 1:
            raise UserError(f"method.start={start} is out of range", "it is a share of the cells")
        if tune:
            check_grid(grid, "penalty")
        self.pace, self.start, self.rounds, self.groups = pace, start, rounds, groups
        self.penalty, self.locality, self.code_ridge, self.standardise = penalty, locality, code_ridge, standardise
        self.tune, self.grid = tune, tuple(sorted(grid, reverse=True))
        self.history: list[dict[str, float]] = []

    def fit(self, examples: NDArray[Any], target: NDArray[Any], known: NDArray[Any]) -> None:
        if self.tune:
            self.penalty = tuned(self, "penalty", self.grid, examples, target, known)
        self.fit_once(examples, target, known)
        for number, row in enumerate(self.history, 1):
            said = "round %d: pace %.2f, mean weight %.2f, objective %.6g, after the steps %.6g"
            log.info(said, number, row["share"], row["weight"], row["begun"], row["objective"])

    def fit_once(self, examples: NDArray[Any], target: NDArray[Any], known: NDArray[Any]) -> None:
        """:meth:`fit` with penalty as it stands."""
        x = np.asarray(examples, np.float64)
        mean, deviation = mean_and_deviation(x, self.standardise)
        x = (x - mean) / deviation
        one = constant_labels(target, known)
        cells = known.astype(bool) & ~one
        problem = Problem(x, np.where(target > 0, 1.0, -1.0), cells, self.penalty, self.locality)
        self.history = problem.solve(self.pace, self.start, self.rounds, self.groups, self.seed)
        codes = Ridge(self.code_ridge, solver="cholesky").fit(x, problem.codes)
        w, c = problem.w / deviation[:, None], codes.coef_.reshape(-1, x.shape[1]).T / deviation[:, None]
        self.set_fitted(
            coefficients=w,
            intercepts=problem.b - mean @ w,
            code_coefficients=problem.u,
            code_projection=c,
            code_intercept=np.atleast_1d(codes.intercept_) - mean @ c,
            constant=np.where(one, smoothed_prior(target, known), np.nan),
        )

    def decision(self, features: Tensor) -> Tensor:
        codes = on_simplex(features @ self.code_projection + self.code_intercept)
        logits = features @ self.coefficients + codes @ self.code_coefficients + self.intercepts
        return torch.where(self.constant.isnan(), logits.sigmoid(), self.constant)

    def details(self) -> dict[str, Any]:
        """The penalty that was used, and of each round the share of cells below λ, their mean weight, and the
        objective at that λ before and after the steps in classifiers, codes and groups."""
        columns = {key: [row[key] for row in self.history] for key in ("share", "weight", "begun", "objective")}
        return {"penalty": self.penalty, **columns}


class Problem:
    """The objective of this module and the steps that lower it.

    Args:
        x: (n, F).
        y: (n, L) of -1 and 1.
        cells: (n, L) that count.
        penalty, locality: see :class:`MLSPL`.

    Attributes:
        w, u, b: (F, L), (m, L), (L,) classifiers.
        codes: (n, m), centres: (m, L) groups, weights: (n, L) of the cells.
    """

    def __init__(self, x: Array, y: Array, cells: Bools, penalty: float, locality: float) -> None:
        self.x, self.y, self.cells, self.penalty, self.locality = x, y, cells, penalty, locality
        self.weights = cells.astype(float)

    def solve(self, pace: Pace, start: float, rounds: int, groups: int, seed: int) -> list[dict[str, float]]:
        """Alternate; what each round did, see :meth:`MLSPL.details`."""
        self.begin(groups, seed)
        self.step_classifiers()
        history: list[dict[str, float]] = []
        for share in np.linspace(start, 1, rounds).tolist():
            limit = self.limits(share)
            self.weights = cell_weights(self.losses(), limit, pace) * self.cells
            begun = self.objective(limit, pace)
            self.step_classifiers()
            self.step_codes()
            self.step_centres()
            weight = float(self.weights.sum() / max(self.cells.sum(), 1))
            reached = self.objective(limit, pace)
            history.append({"share": share, "weight": weight, "begun": begun, "objective": reached})
            if pace == "none" and begun - reached <= 1e-6 * abs(begun):
                break
        return history

    def limits(self, share: float) -> Array:
        """λ of each cell: the loss below which that share of its label's cells of the same sign lie. (n, L)"""
        losses, limit = self.losses(), np.ones_like(self.y)
        for label in range(self.y.shape[1]):
            for sign in (-1, 1):
                alike = self.cells[:, label] & (self.y[:, label] == sign)
                if alike.any():
                    limit[alike, label] = np.quantile(losses[alike, label], share) * (1 + 1e-9)  # itself counts
        return limit.clip(1e-12)

    def begin(self, groups: int, seed: int) -> None:
        """Groups of label sets by k-means, codes of 1 at one's own group; classifiers of 0."""
        counted = self.cells.sum(0)
        filled = np.where(self.cells, self.y, (self.y * self.cells).sum(0) / counted.clip(1))
        self.centres, group = clusters(filled, groups, seed, starts=5)
        m = len(self.centres)
        self.codes: Array = np.eye(m)[group]
        self.w, self.u = np.zeros((self.x.shape[1], self.y.shape[1])), np.zeros((m, self.y.shape[1]))
        self.b = np.zeros(self.y.shape[1])

    def losses(self) -> Array:
        """(n, L)"""
        return np.logaddexp(0, -self.y * (self.x @ self.w + self.codes @ self.u + self.b))

    def distances(self) -> Array:
        """Squared distances of label sets to groups, over the cells that count. (n, m)"""
        signs, counts = self.y * self.cells, self.cells.astype(float)
        found: Array = counts.sum(1, keepdims=True) - 2 * signs @ self.centres.T + counts @ (self.centres**2).T
        return found

    def objective(self, limit: Array, pace: Pace) -> float:
        loss = (self.weights * self.losses() + regulariser(self.weights, limit, pace))[self.cells].sum()
        squares = (self.w**2).sum() + (self.u**2).sum()
        return float(loss + self.penalty * squares + self.locality * (self.codes * self.distances()).sum())

    def step_classifiers(self) -> None:
        """All labels at once by L-BFGS, from where they stand."""
        read = np.hstack([self.x, self.codes])
        shape = (read.shape[1] + 1, self.y.shape[1])

        def value_and_gradient(flat: Array) -> tuple[float, Array]:
            lines, b = flat[: -shape[1]].reshape(-1, shape[1]), flat[-shape[1] :]
            margins = self.y * (read @ lines + b)
            value = (self.weights * np.logaddexp(0, -margins)).sum() + self.penalty * (lines**2).sum()
            pull = -self.weights * self.y * expit(-margins)
            return float(value), np.vstack([read.T @ pull + 2 * self.penalty * lines, pull.sum(0)]).ravel()

        begin = np.vstack([self.w, self.u, self.b]).ravel()
        options = {"maxiter": 100, "ftol": 1e-7, "gtol": 1e-6}
        found = minimize(value_and_gradient, begin, jac=True, method="L-BFGS-B", options=options).x.reshape(shape)
        self.w, self.u, self.b = np.split(found, [self.x.shape[1], len(found) - 1])
        self.b = self.b[0]

    def step_codes(self) -> None:
        """Each row's code by projected gradient, whose steps are short enough that the objective never rises."""
        from_features, cost = self.x @ self.w + self.b, self.locality * self.distances()
        steepest = np.linalg.norm(self.u, 2) ** 2 * self.weights.max(initial=0) / 4
        for _ in range(CODE_STEPS):
            pull = -self.weights * self.y * expit(-self.y * (from_features + self.codes @ self.u))
            gradient = pull @ self.u.T + cost
            moved = self.codes - gradient / max(steepest, 1e-6)
            self.codes = on_simplex(torch.from_numpy(moved)).numpy()

    def step_centres(self) -> None:
        """Means of the label sets weighted by the codes, over the cells that count; a group of no cell stays."""
        weight = self.codes.T @ self.cells
        mean = self.codes.T @ (self.y * self.cells) / np.where(weight > 0, weight, 1)
        self.centres = np.where(weight > 0, mean, self.centres)


def cell_weights(loss: Array, limit: Array, pace: Pace) -> Array:
    """The weights in [0, 1] that minimise weight · loss + :func:`regulariser`, λ being ``limit``. All (n, L).

    ``hard``: 1 below λ, else 0. ``linear``: 1 − loss / λ. ``log``: ln(r + 0.1) / ln(0.1), r = 0.9 · loss / λ. (Each 0
    from λ on.) ``logistic``: (1 + e^−λ) / (1 + e^(loss − λ)). ``none``: 1.
    """
    weights: Array = np.ones_like(loss)
    if pace == "hard":
        weights = (loss < limit).astype(float)
    elif pace == "linear":
        weights = (1 - loss / limit).clip(0)
    elif pace == "log":
        weights = np.log((LOG_LIMIT * loss / limit + 1 - LOG_LIMIT).clip(None, 1)) / np.log(1 - LOG_LIMIT)
    elif pace == "logistic":
        weights = (1 + np.exp(-limit)) * expit(limit - loss)
    return weights


def regulariser(weights: Array, limit: Array, pace: Pace) -> Array:
    """g(v; λ) of each cell, of which :func:`cell_weights` is the answer. All (n, L)."""
    found: Array = np.zeros_like(weights)
    if pace == "hard":
        found = -limit * weights
    elif pace == "linear":
        found = limit * (weights**2 / 2 - weights)
    elif pace == "log":
        rest = 1 - LOG_LIMIT
        found = limit / LOG_LIMIT * (rest * weights - rest**weights / np.log(rest))
    elif pace == "logistic":
        above = 1 + np.exp(-limit) - weights
        found = xlogy(above, above) + xlogy(weights, weights) - limit * weights
    return found


def on_simplex(points: Tensor) -> Tensor:
    """The nearest points with coordinates of at least 0 whose sum is 1. (n, m) -> (n, m)"""
    falling = points.sort(1, descending=True).values
    excess = falling.cumsum(1) - 1
    count = torch.arange(1, points.shape[1] + 1, device=points.device, dtype=points.dtype)
    last = (falling * count > excess).sum(1, keepdim=True)  # coordinates that stay above 0
    return (points - excess.gather(1, last - 1) / last).clamp(min=0)
