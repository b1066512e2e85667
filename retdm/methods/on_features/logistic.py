"""Logistic regression on frozen features, every label on its own: L1LR and LR (Dong et al., ICIP 2017, eq. 1)."""

from typing import Annotated, Any, Literal

import numpy as np
import sklearn
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.methods.components.labels import Array, Bools, constant_labels, smoothed_prior
from retdm.methods.components.logistic_solver import fit_lines, principal_axes, with_ones
from retdm.methods.components.standardise import standardised
from retdm.methods.on_features.base import FeatureMethod
from retdm.methods.tuning import FoldScores
from retdm.ranges import Above

SMALL = 300_000  # numbers in the features, up to which one process is faster than several
NEW_NAMES = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)  # `penalty` became `l1_ratio`


class Logistic(FeatureMethod):
    """A logistic regression of each label: penalty(w, b) + C * sum of log-losses over the rows where it is known.

    The paper's eq. 1 divides by C * n: its lambda is 1 / (C n), its "default of 1" liblinear's C = 1. As in liblinear
    the intercept is penalised like a coefficient. A constant label has coefficients of 0 and scores
    (positives + 1) / (rows + 2) everywhere. L1 is fitted by liblinear, a label at a time; L2, to the same optimum as
    liblinear's, for all labels at once in a fraction of the time.

    Args:
        penalty: ``l1`` (the sum of absolute values) or ``l2`` (half the sum of squares).
        C: weight of the losses against the penalty.
        tolerance: of the solver. L1 stops where the slope is this share of the first one, 1e-2 being the default of
            liblinear's own programs and so the paper's; it decides how many coefficients are zero. For L2 see
            :func:`retdm.methods.components.logistic_solver.fit_lines`.
        standardise: subtract each feature's mean over the training rows and divide by its deviation.
        fitted: see :class:`retdm.methods.on_features.base.FeatureMethod`. C is tuned by the log-loss of all labels
            together.
    """

    exports = explains = True
    candidates = {"C": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)}
    coefficients: Tensor  # (L, F)
    intercepts: Tensor  # (L,)

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        penalty: Literal["l1", "l2"] = "l1",
        C: Annotated[float, Above(0)] = 1.0,
        tolerance: Annotated[float, Above(0)] = 1e-2,
        standardise: bool = False,
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        self.penalty, self.C, self.tolerance, self.standardise = penalty, C, tolerance, standardise
        widths = self.encoder.widths()
        self.widths = {name: widths[name] for name in self.encoder.stages}  # features of each stage

    def fit_once(self, examples: NDArray[Any], target: NDArray[Any], known: Bools) -> None:
        x, mean, deviation = self._standardised(examples)
        coefficients, intercepts = self._lines(x, target, known)
        coefficients = coefficients / deviation
        self.set_fitted(coefficients=coefficients, intercepts=intercepts - coefficients @ mean)

    def decision(self, features: Tensor) -> Tensor:
        return (features @ self.coefficients.T + self.intercepts).sigmoid()

    def details(self) -> dict[str, Any]:
        """C, the features of each stage, and of each label how many of them have a coefficient that is not zero."""
        selected = torch.stack([(block != 0).sum(1) for block in self._by_stage(self.coefficients)], 1).tolist()
        by_label = {
            label: dict(zip(self.widths, row, strict=True)) for label, row in zip(self.labels, selected, strict=True)
        }
        return super().details() | {"widths": self.widths, "selected": by_label}

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
            "stages": np.array(list(self.widths)),
        }

    def _by_stage(self, values: Tensor) -> tuple[Tensor, ...]:
        """(n, F) split into the (n, width) of each stage."""
        return torch.split(values, list(self.widths.values()), dim=1)

    def _standardised(self, examples: NDArray[Any]) -> tuple[Array, Array, Array]:
        x = np.ascontiguousarray(examples, np.float64)  # liblinear's own layout, made once for all labels
        return standardised(x, self.standardise)

    def _lines(self, x: Array, target: NDArray[Any], known: Bools) -> tuple[Array, Array]:
        """Coefficients (L, F) and intercepts (L,) on the rows x (n, F)."""
        if self.penalty == "l1":
            return self._sparse_lines(x, target, known)
        axes = principal_axes(x)
        lines = self._dense_lines(with_ones(x @ axes), target, known)
        return lines[:, :-1] @ axes.T, lines[:, -1]

    def _dense_lines(self, rows: Array, target: NDArray[Any], known: Bools, start: Array | None = None) -> Array:
        ridge = 1 / self.C
        return fit_lines(rows, target > 0, known, ridge, ridge, start=start, tolerance=self.tolerance)

    def _sparse_lines(self, x: Array, target: NDArray[Any], known: Bools) -> tuple[Array, Array]:
        kind: dict[str, Any] = {"l1_ratio": 1.0} if NEW_NAMES else {"penalty": "l1"}
        # The seed is of liblinear's order of coordinates.
        model = LogisticRegression(
            solver="liblinear", C=self.C, tol=self.tolerance, max_iter=1000, random_state=self.seed, **kind
        )
        # Processes, which share the features as a memory map: threads would share liblinear's one random order, and
        # results would change from run to run. Small problems are done before the processes have started.
        jobs = -1 if x.size > SMALL else 1
        fits = np.flatnonzero(~constant_labels(target, known))
        found = Parallel(n_jobs=jobs)(delayed(_line)(model, x, target[:, j], known[:, j]) for j in fits)
        prior = smoothed_prior(target, known)
        coefficients, intercepts = np.zeros((target.shape[1], x.shape[1])), np.log(prior / (1 - prior))
        for j, (line, intercept) in zip(fits, found, strict=True):
            coefficients[j], intercepts[j] = line, intercept
        return coefficients, intercepts

    def fold_scores(self, examples: NDArray[Any], target: NDArray[Any], known: Bools) -> FoldScores:
        """Logits, of lines on features that are standardised, and for L2 turned to their axes, once for all folds."""
        x, _, _ = self._standardised(examples)
        if self.penalty == "l1":

            def logits(fitted: Bools, held: Bools) -> Array:
                lines = zip(*self._sparse_lines(x[fitted], target[fitted], known[fitted]), strict=True)
                return np.stack([x[held] @ coefficients + intercept for coefficients, intercept in lines], 1)

        else:
            rows = with_ones(x @ principal_axes(x))
            before: dict[bytes, Array] = {}  # of each fold the last lines, from which those of the next C are not far

            def logits(fitted: Bools, held: Bools) -> Array:
                fold = fitted.tobytes()
                before[fold] = self._dense_lines(rows[fitted], target[fitted], known[fitted], before.get(fold))
                found: Array = rows[held] @ before[fold].T
                return found

        return logits

    def cross_validation_loss(self, scores: Array, target: NDArray[Any], known: Bools) -> float:
        losses = np.logaddexp(0, -np.where(target > 0, 1.0, -1.0) * scores) * known
        return sum(float(losses[:, j].sum()) for j in range(losses.shape[1]))


def _line(model: LogisticRegression, x: Array, target: NDArray[Any], known: Bools) -> tuple[Array, float]:
    model.fit(x if known.all() else x[known], target[known] > 0)
    return model.coef_[0].copy(), float(model.intercept_[0])
