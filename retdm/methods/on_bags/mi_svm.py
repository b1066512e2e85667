"""mi-SVM and MI-SVM (Andrews, Tsochantaridis and Hofmann, NIPS 2002), one a label."""

from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.svm import SVC, LinearSVC
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.methods.components.classifiers import SMALL, rbf_decision, scale_of
from retdm.methods.components.labels import Array, Bools, constant_labels, smoothed_prior
from retdm.methods.components.softsign import inverse_softsign_score, softsign_score
from retdm.methods.components.standardise import standardised
from retdm.methods.on_bags.base import BagMethod
from retdm.ranges import Above, AtLeast

Places = NDArray[np.int64]


class Found(NamedTuple):
    """A label's machine: duals of the pool's rows (P,), or for ``linear`` coefficients (D,); the objective a round."""

    weights: Array
    intercept: float
    objective: list[float]


class MiSVM(BagMethod):
    """A machine f on instances; a bag scores as its highest instance does.

    Both methods alternate between fitting f and choosing the instances that represent positive bags. mi-SVM labels each
    of their instances by the sign of f, the highest always positive, and starts with all positive. MI-SVM (``witness``)
    takes the highest instance alone of each positive bag, and starts with the mean. All instances of negative bags are
    negative. They end when the choice stays, or after ``rounds``. No round raises the machines' objective but MI-SVM's
    first, because a mean may score above all that it is the mean of.

    Args:
        witness: MI-SVM.
        kernel: ``rbf``, exp(-gamma ||x - x'||²), or ``linear``, with squared hinge losses (liblinear), for many
            instances.
        C: weight of the machines' losses.
        gamma: None is 1 / (features times the variance of the instances, which is 1 after standardising).
        rounds: at most.
        fitted: see :class:`retdm.methods.on_bags.base.BagMethod`. The paper names no candidates.
    """

    scores_instances = True
    candidates = {"C": (0.3, 1.0, 3.0, 10.0, 30.0)}
    mean: Tensor  # (D,)
    deviation: Tensor  # (D,)
    support: Tensor  # (T, D) standardised; (0, D) for linear
    weights: Tensor  # (L, T) duals, or for linear (L, D) coefficients
    intercepts: Tensor  # (L,)
    rbf_gamma: Tensor  # ()

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        witness: bool = False,
        kernel: Literal["rbf", "linear"] = "rbf",
        C: Annotated[float, Above(0)] = 1.0,
        gamma: Annotated[float, Above(0)] | None = None,
        rounds: Annotated[int, AtLeast(1)] = 8,
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        self.witness, self.kernel, self.C, self.gamma, self.rounds = witness, kernel, C, gamma, rounds
        self.objective: list[float] = []

    def fit_once(self, examples: Bags, target: NDArray[Any], known: Bools) -> None:
        x, mean, deviation = standardised(examples.instances.astype(np.float64))
        bag = examples.bag_index()
        means = np.add.reduceat(x, examples.offsets[:-1]) / examples.sizes[:, None]
        pool = np.concatenate([x, means]) if self.witness else x
        gamma = scale_of(x) if self.gamma is None else self.gamma
        fits = np.flatnonzero(~constant_labels(target, known))
        # Both solvers let other threads run and draw nothing.
        found: list[Found] = Parallel(n_jobs=-1 if x.size > SMALL else 1, prefer="threads")(
            delayed(_alternate)(self._machine(gamma), pool, bag, target[:, j] > 0, known[:, j], self.rounds)
            for j in fits
        )
        weights = np.zeros((len(self.labels), pool.shape[self.kernel == "linear"]))
        intercepts = inverse_softsign_score(smoothed_prior(target, known))
        for j, label in zip(fits, found, strict=True):
            weights[j], intercepts[j] = label.weights, label.intercept
        support = np.flatnonzero((weights != 0).any(0)) if self.kernel == "rbf" else np.zeros(0, np.int64)
        self.set_fitted(mean=mean, deviation=deviation, rbf_gamma=np.array(gamma), intercepts=intercepts)
        self.set_fitted(support=pool[support], weights=weights[:, support] if self.kernel == "rbf" else weights)
        # A label whose rounds have ended keeps its last objective.
        most = max((len(label.objective) for label in found), default=0)
        each = [[label.objective[min(place, len(label.objective) - 1)] for label in found] for place in range(most)]
        self.objective = [float(sum(row)) for row in each]

    def _machine(self, gamma: float) -> SVC | LinearSVC:
        if self.kernel == "rbf":
            return SVC(C=self.C, gamma=gamma, cache_size=500)
        return LinearSVC(C=self.C, dual=False)

    def values(self, rows: Tensor) -> Tensor:
        """f (…, L) of instances (…, D)."""
        x = (rows.flatten(0, -2) - self.mean) / self.deviation
        if self.kernel == "rbf":
            found = rbf_decision(x, self.support, self.weights, self.intercepts, self.rbf_gamma)
        else:
            found = x @ self.weights.T + self.intercepts
        values: Tensor = found.unflatten(0, rows.shape[:-1])
        return values

    def bag_decision(self, bag: Tensor, mask: Tensor, index: Tensor) -> Tensor:
        return softsign_score(self.values(bag).where(mask[..., None], -torch.inf).amax(1))

    def instance_decision(self, bag: Tensor, mask: Tensor) -> Tensor:
        return softsign_score(self.values(bag))

    def details(self) -> dict[str, Any]:
        """C that was used, the objective of all labels' machines after each round, and the number of support
        instances."""
        return super().details() | {"objective": self.objective, "support": len(self.support)}


def _alternate(
    model: SVC | LinearSVC,
    pool: Array,
    bag: Places,
    labelled: Bools,
    known: Bools,
    rounds: int,
) -> Found:
    """Fit one label's machine.

    Args:
        model: the solver.
        pool: instances (T, D), followed for MI-SVM by the means of all n bags.
        bag: (T,) the bag of each instance, in ascending order.
        labelled: (n,) bags that have the label.
        known: (n,)
        rounds: at most.
    """
    witness = len(pool) > len(bag)
    positive, negative = np.flatnonzero((labelled & known)[bag]), np.flatnonzero((~labelled & known)[bag])
    chosen = len(bag) + np.flatnonzero(labelled & known) if witness else positive
    objective = []
    for _ in range(rounds):
        rows = np.sort(np.concatenate([chosen if witness else positive, negative]))
        signs = np.isin(rows, chosen)
        model.fit(pool[rows], signs)
        values = _values(model, pool, rows)
        objective.append(_objective(model, values[rows], signs))
        last_of_bag = np.diff(bag[positive], append=-1) != 0
        highest = positive[np.lexsort((values[positive], bag[positive]))[last_of_bag]]
        again = highest if witness else np.union1d(positive[values[positive] > 0], highest)
        if np.array_equal(again, chosen):
            break
        chosen = again
    if isinstance(model, LinearSVC):
        return Found(model.coef_[0].copy(), float(model.intercept_[0]), objective)
    weights = np.zeros(len(pool))
    weights[rows[model.support_]] = model.dual_coef_[0]
    return Found(weights, float(model.intercept_[0]), objective)


def _values(model: SVC | LinearSVC, pool: Array, rows: Places) -> Array:
    """The decision value (P,) of each row of the pool, by a machine that was fitted to ``rows``."""
    if isinstance(model, LinearSVC):
        linear: Array = pool @ model.coef_[0] + model.intercept_[0]
        return linear
    support, duals = torch.from_numpy(pool[rows[model.support_]]), torch.from_numpy(model.dual_coef_)
    intercept = torch.from_numpy(model.intercept_)
    values: Array = rbf_decision(torch.from_numpy(pool), support, duals, intercept, model.gamma)[:, 0].numpy()
    return values  # twenty times faster than the solver's own


def _objective(model: SVC | LinearSVC, values: Array, signs: Bools) -> float:
    """The solver's objective at its solution: half the squared norm + C times the (squared) hinge losses."""
    hinge = np.maximum(0, 1 - np.where(signs, values, -values))
    if isinstance(model, LinearSVC):  # which penalises the intercept too
        squares = (model.coef_**2).sum() + (model.intercept_**2).sum()
        return float(squares / 2 + model.C * (hinge**2).sum())
    squares = model.dual_coef_[0] @ (values[model.support_] - model.intercept_[0])
    return float(squares / 2 + model.C * hinge.sum())
