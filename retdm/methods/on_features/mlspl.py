"""MLSPL, a reconstruction: self-paced multi-label learning (Li et al., TNNLS 2018) on the local codes of MLLOC.

MLLOC (Huang & Zhou, AAAI 2012) gives every training image a code c on the simplex over m groups of label sets, which
classifiers read beside the features. MLSPL weighs each cell (image, label) by how easy it is at present, and counts
more and more of them. Notation: n rows, F features, L labels, m groups. With y in {-1, 1},

    min over w, u, b, c, p, v of  Σ_il [v_il · loss(y_il (x_i w_l + c_i u_l + b_l)) + g(v_il; λ_il)]
                                  + penalty · (Σ w² + Σ u²)  +  locality · Σ_ij c_ij ‖y_i − p_j‖².

Neither paper's text nor code was at hand. Our own choices: the loss is logistic where MLLOC has a hinge (easy cells
would have a loss of exactly 0, and no pace could distinguish them); λ is a quantile of the present losses, which rises
from round to round, for each label's positives and negatives apart (with one λ for all cells the negatives, which are
many and easy, count first, and the positives then never come back); the logarithmic scheme, whose λ has to stay below
1, measures losses in units of λ; codes of new images come from a ridge regression and are projected to the simplex.
"""

import logging
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import Ridge
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.methods.components.clustering import k_means
from retdm.methods.components.labels import Array, Bools, constant_labels, constant_scores
from retdm.methods.components.self_paced import Pace, cell_weights, regulariser
from retdm.methods.components.standardise import standardised
from retdm.methods.on_features.base import FeatureMethod
from retdm.ranges import Above, AtLeast, Between

log = logging.getLogger("retdm")

CODE_STEPS = 50  # of the projected gradient, each round


class MLSPL(FeatureMethod):
    """Logistic classifiers on features and local codes, fitted to easy cells first and to hard ones later. A
    reconstruction.

    A score is the sigmoid of x·w + ĉ·u + b. Unknown cells count in no loss, no distance and no group's centre. A
    constant label is left out and scores (positives + 1) / (rows + 2).

    Args:
        pace: how a loss becomes a cell's weight, see :func:`retdm.methods.components.self_paced.cell_weights`;
            ``none`` weighs all alike, which is MLLOC.
        start: share of the cells whose loss is below λ in the first round; in the last all are.
        rounds: each weighs the cells and takes one step in classifiers, codes and groups. Without a pace they end early
            where the objective falls no more.
        groups: m, no more than there are distinct label sets.
        penalty: of the squares of w and u (λ1 of MLLOC, where it is 1).
        locality: weight of the codes' distances to the groups (λ2 of MLLOC).
        code_ridge: penalty of the regression from features to codes.
        standardise: subtract each feature's mean over the training rows and divide by its deviation.
        fitted: see :class:`retdm.methods.on_features.base.FeatureMethod`.
    """

    candidates = {"penalty": (300.0, 100.0, 30.0, 10.0, 3.0)}
    coefficients: Tensor  # w, (F, L)
    intercepts: Tensor  # b, (L,)
    code_coefficients: Tensor  # u, (m, L)
    code_projection: Tensor  # (F, m)
    code_intercept: Tensor  # (m,)
    constant: Tensor  # (L,) scores of constant labels, NaN of others

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        pace: Pace = "logistic",
        start: Annotated[float, Between(0, 1, with_low=False)] = 0.5,
        rounds: Annotated[int, AtLeast(1)] = 10,
        groups: Annotated[int, AtLeast(1)] = 15,
        penalty: Annotated[float, Above(0)] = 30.0,
        locality: Annotated[float, Above(0)] = 100.0,
        code_ridge: Annotated[float, Above(0)] = 1000.0,
        standardise: bool = True,
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        self.pace, self.start, self.rounds, self.groups = pace, start, rounds, groups
        self.penalty, self.locality, self.code_ridge, self.standardise = penalty, locality, code_ridge, standardise
        self.history: list[dict[str, float]] = []

    def fit(self, examples: NDArray[Any], target: NDArray[Any], known: NDArray[Any]) -> None:
        super().fit(examples, target, known)
        for number, row in enumerate(self.history, 1):
            message = "round %d: pace %.2f, mean weight %.2f, objective %.6g, after the steps %.6g"
            log.info(message, number, row["share"], row["weight"], row["begun"], row["objective"])

    def fit_once(self, examples: NDArray[Any], target: NDArray[Any], known: Bools) -> None:
        x, mean, deviation = standardised(np.asarray(examples, np.float64), self.standardise)
        cells = known & ~constant_labels(target, known)
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
            constant=constant_scores(target, known),
        )

    def decision(self, features: Tensor) -> Tensor:
        codes = on_simplex(features @ self.code_projection + self.code_intercept)
        logits = features @ self.coefficients + codes @ self.code_coefficients + self.intercepts
        return torch.where(self.constant.isnan(), logits.sigmoid(), self.constant)

    def details(self) -> dict[str, Any]:
        """The penalty that was used, and of each round the share of cells below λ, their mean weight, and the
        objective at that λ before and after the steps in classifiers, codes and groups."""
        columns = {key: [row[key] for row in self.history] for key in ("share", "weight", "begun", "objective")}
        return super().details() | columns


class Problem:
    """The objective above, and the steps that lower it.

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
        """Alternate between weights and steps; returns a row a round, see :meth:`MLSPL.details`."""
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
        """λ of each cell (n, L): the loss below which that share of the label's cells with the same sign lie."""
        losses, limit = self.losses(), np.ones_like(self.y)
        for label in range(self.y.shape[1]):
            for sign in (-1, 1):
                alike = self.cells[:, label] & (self.y[:, label] == sign)
                if alike.any():
                    limit[alike, label] = np.quantile(losses[alike, label], share) * (1 + 1e-9)  # itself counts
        return limit.clip(1e-12)

    def begin(self, groups: int, seed: int) -> None:
        """Group label sets by k-means; each row's code is 1 for its own group. Classifiers are 0."""
        counted = self.cells.sum(0)
        filled = np.where(self.cells, self.y, (self.y * self.cells).sum(0) / counted.clip(1))
        self.centres, group = k_means(filled, groups, seed, starts=5)
        m = len(self.centres)
        self.codes: Array = np.eye(m)[group]
        self.w, self.u = np.zeros((self.x.shape[1], self.y.shape[1])), np.zeros((m, self.y.shape[1]))
        self.b = np.zeros(self.y.shape[1])

    def losses(self) -> Array:
        """The logistic loss of each cell. (n, L)"""
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
        """Fit w, u and b of all labels at once by L-BFGS, starting from their present values."""
        inputs = np.hstack([self.x, self.codes])
        shape = (inputs.shape[1] + 1, self.y.shape[1])

        def value_and_gradient(flat: Array) -> tuple[float, Array]:
            lines, b = flat[: -shape[1]].reshape(-1, shape[1]), flat[-shape[1] :]
            margins = self.y * (inputs @ lines + b)
            value = (self.weights * np.logaddexp(0, -margins)).sum() + self.penalty * (lines**2).sum()
            pull = -self.weights * self.y * expit(-margins)
            return float(value), np.vstack([inputs.T @ pull + 2 * self.penalty * lines, pull.sum(0)]).ravel()

        begin = np.vstack([self.w, self.u, self.b]).ravel()
        options = {"maxiter": 100, "ftol": 1e-7, "gtol": 1e-6}
        found = minimize(value_and_gradient, begin, jac=True, method="L-BFGS-B", options=options).x.reshape(shape)
        self.w, self.u, self.b = np.split(found, [self.x.shape[1], len(found) - 1])
        self.b = self.b[0]

    def step_codes(self) -> None:
        """Improve each row's code by projected gradient, in steps so short that the objective never rises."""
        from_features, cost = self.x @ self.w + self.b, self.locality * self.distances()
        steepest = np.linalg.norm(self.u, 2) ** 2 * self.weights.max(initial=0) / 4
        for _ in range(CODE_STEPS):
            pull = -self.weights * self.y * expit(-self.y * (from_features + self.codes @ self.u))
            gradient = pull @ self.u.T + cost
            moved = self.codes - gradient / max(steepest, 1e-6)
            self.codes = on_simplex(torch.from_numpy(moved)).numpy()

    def step_centres(self) -> None:
        """Move each group's centre to the mean of the label sets, weighted by the codes, over the cells that count; a
        group without such a cell stays."""
        weight = self.codes.T @ self.cells
        mean = self.codes.T @ (self.y * self.cells) / np.where(weight > 0, weight, 1)
        self.centres = np.where(weight > 0, mean, self.centres)


def on_simplex(points: Tensor) -> Tensor:
    """The nearest points with coordinates of at least 0 whose sum is 1. (n, m) -> (n, m)"""
    falling = points.sort(1, descending=True).values
    excess = falling.cumsum(1) - 1
    count = torch.arange(1, points.shape[1] + 1, device=points.device, dtype=points.dtype)
    last = (falling * count > excess).sum(1, keepdim=True)  # coordinates that stay above 0
    return (points - excess.gather(1, last - 1) / last).clamp(min=0)
