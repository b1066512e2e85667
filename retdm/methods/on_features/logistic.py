"""Logistic regression on frozen features, every label on its own: L1LR and LR (Dong et al., ICIP 2017, eq. 1)."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import sklearn
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.errors import UserError
from retdm.methods.components.multilevel_encoder import MultilevelEncoder
from retdm.methods.components.shallow import lowest_loss
from retdm.methods.fitted import FittedMethod

Array = NDArray[np.float64]
SMALL = 300_000  # numbers in the features
NEW_NAMES = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)  # `penalty` became `l1_ratio`


class Line(NamedTuple):
    """A label's coefficients (F,) and intercept."""

    coefficients: Array
    intercept: float


class Logistic(FittedMethod):
    """One liblinear logistic regression a label: penalty(w, b) + C * sum of log-losses over the rows where it is known.

    The paper's eq. 1 divides by C * n: its lambda is 1 / (C n), its "default of 1" liblinear's C = 1. As in liblinear
    the intercept is penalised like a coefficient. A label of one class has no line: it scores (positives + 1) /
    (rows + 2) everywhere.

    Args:
        penalty: ``l1`` (the sum of absolute values) or ``l2`` (half the sum of squares).
        C: weight of the losses against the penalty.
        tolerance: liblinear's; it decides how many coefficients of an L1 fit are zero.
        standardise: divide each feature by its deviation over the training rows, its mean taken off.
        tune: choose C of ``grid`` by the mean log-loss of 5 folds of the training rows, for all labels together.
        grid: values of C.
        fitted: see :class:`retdm.methods.fitted.FittedMethod`.
    """

    exports = explains = True
    encoder: MultilevelEncoder
    coefficients: Tensor
    intercepts: Tensor

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        penalty: Literal["l1", "l2"] = "l1",
        C: float = 1.0,
        tolerance: float = 1e-4,
        standardise: bool = False,
        tune: bool = False,
        grid: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        for key, value in (("C", C), ("tolerance", tolerance), *(("grid", value) for value in grid)):
            if not value > 0:
                raise UserError(f"method.{key}={value} is out of range", "it is a number above 0")
        if tune and not grid:
            raise UserError("method.grid is empty", "method.tune chooses C from it")
        self.penalty, self.C, self.tolerance, self.standardise = penalty, C, tolerance, standardise
        self.tune, self.grid = tune, tuple(grid)
        self.widths = self.encoder.widths()
        width = sum(self.widths[name] for name in self.encoder.stages)
        self.register_buffer("coefficients", torch.zeros(len(labels), width, dtype=torch.float64))
        self.register_buffer("intercepts", torch.zeros(len(labels), dtype=torch.float64))

    def fit(self, examples: NDArray[Any], target: NDArray[Any], known: NDArray[Any]) -> None:
        mean, deviation = np.zeros(examples.shape[1]), np.ones(examples.shape[1])
        x = np.ascontiguousarray(examples, np.float64)  # liblinear's own; converted once, not for each label
        if self.standardise:
            mean, deviation = x.mean(0), x.std(0)
            deviation[deviation == 0] = 1
            x = (x - mean) / deviation
        if self.tune:
            self.C = self._choose(x, target, known)
        lines = self._lines(x, target, known, self.C)
        coefficients = np.stack([line.coefficients for line in lines]) / deviation
        intercepts = np.array([line.intercept for line in lines]) - coefficients @ mean
        self.coefficients.copy_(torch.from_numpy(coefficients))
        self.intercepts.copy_(torch.from_numpy(intercepts))

    def decision(self, features: Tensor) -> Tensor:
        return (features @ self.coefficients.T + self.intercepts).sigmoid()

    def details(self) -> dict[str, Any]:
        """C, the features of each stage, and of each label how many of them have a coefficient that is not zero."""
        stages = self.encoder.stages
        blocks = self._by_stage(self.coefficients)
        chosen = torch.stack([(block != 0).sum(1) for block in blocks], 1).tolist()
        return {
            "C": self.C,
            "widths": {name: self.widths[name] for name in stages},
            "selected": {
                label: dict(zip(stages, row, strict=True)) for label, row in zip(self.labels, chosen, strict=True)
            },
        }

    def contributions(self, features: Tensor) -> Tensor:
        """Features (B, F) to (B, L, S): what each stage adds to a label's logit, which is their sum + its intercept."""
        pairs = zip(self._by_stage(features.double()), self._by_stage(self.coefficients), strict=True)
        return torch.stack([block @ coefficients.T for block, coefficients in pairs], 2)

    def explain(self, examples: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """``contributions`` (n, L, S) float32, the ``intercepts`` (L,) that complete them, and the names ``stages``."""
        features = torch.from_numpy(examples).to(self.coefficients.device)
        return {
            "contributions": self.contributions(features).float().cpu().numpy(),
            "intercepts": self.intercepts.cpu().numpy(),
            "stages": np.array(self.encoder.stages),
        }

    def _by_stage(self, values: Tensor) -> tuple[Tensor, ...]:
        """(n, F) cut into the (n, width) of each stage."""
        return torch.split(values, [self.widths[name] for name in self.encoder.stages], dim=1)

    def _lines(self, x: Array, target: NDArray[Any], known: NDArray[Any], C: float) -> list[Line]:
        kind: dict[str, Any] = {"l1_ratio": float(self.penalty == "l1")} if NEW_NAMES else {"penalty": self.penalty}
        # The seed is of liblinear's order of coordinates.
        solver = LogisticRegression(
            solver="liblinear", C=C, tol=self.tolerance, max_iter=1000, random_state=self.seed, **kind
        )
        # Processes, which share the features as a memory map: threads would share liblinear's one random order, and
        # results would change from run to run. Small problems are done before the processes have started.
        jobs = -1 if x.size > SMALL else 1
        return list(
            Parallel(n_jobs=jobs)(
                delayed(_line)(solver, x, target[:, j], known[:, j].astype(bool)) for j in range(target.shape[1])
            )
        )

    def _choose(self, x: Array, target: NDArray[Any], known: NDArray[Any]) -> float:
        """The C of the grid with the lowest log-loss over 5 folds, at a tie the smaller."""

        def loss(C: float, fitted: NDArray[np.bool_], held: NDArray[np.bool_]) -> float:
            total = 0.0
            for j, line in enumerate(self._lines(x[fitted], target[fitted], known[fitted], C)):
                logits = x[held] @ line.coefficients + line.intercept
                signs = np.where(target[held, j] > 0, 1.0, -1.0)
                total += float((np.logaddexp(0, -signs * logits) * known[held, j]).sum())
            return total

        return lowest_loss(sorted(self.grid), loss, len(x), self.seed)


def _line(solver: LogisticRegression, x: Array, target: NDArray[Any], known: NDArray[np.bool_]) -> Line:
    rows = x if known.all() else x[known]
    marks = target[known] > 0
    if marks.all() or not marks.any():
        share = (marks.sum() + 1) / (len(marks) + 2)
        return Line(np.zeros(x.shape[1]), float(np.log(share / (1 - share))))
    solver.fit(rows, marks)
    return Line(solver.coef_[0].copy(), float(solver.intercept_[0]))
