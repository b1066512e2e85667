"""MIMLfast (Huang, Gao & Zhou, AAAI 2014): sub-concepts of labels in a space that all labels share.

Notation: n bags, T instances in all, d features, D dimensions of the shared space, L labels and C = L + 1 with the
dummy behind them, K sub-concepts each.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.errors import UserError
from retdm.methods.components.shallow import Bools, check_positive, constant_labels, mean_and_deviation, smoothed_prior
from retdm.methods.fitted import softsign_score
from retdm.methods.on_bags.base import TunedBagMethod, wrong_pairs

Array = NDArray[np.float64]
Places = NDArray[np.int64]
# Of D, C, K, epochs: values of the paper's grid, more epochs, and last the settings of another copy of the release.
CANDIDATES = (*product((100, 200), (1.0, 5.0, 10.0), (5,), (10, 50)), (200, 15.0, 1, 25))
EACH = 10  # pairs from one weight that enters the average to the next


class Rates(NamedTuple):
    """A step's length: ``eta`` / (1 + ``lambda_`` t ``eta``) at the t-th step; and the norm that no column exceeds."""

    eta: float
    lambda_: float
    norm: float


class Weights(NamedTuple):
    """The shared space (d, D) and the sub-concepts (C, K, D): as they stand, and summed up ``counts[1]`` times.

    ``counts`` int64 (2,): steps so far, and weights in the sums.
    """

    space: Array
    concepts: Array
    space_sum: Array
    concepts_sum: Array
    counts: Places


class MIMLfast(TunedBagMethod):
    """Ranks the labels of a bag above those that it lacks; between both stands a dummy label, and so decides sets.

    An instance x scores max_k w_lk·Vx for a label, a bag what its highest instance does, F_l. Each step takes a bag and
    one of its labels, or the dummy, which every bag has but ranks below its labels; draws labels that the bag lacks, or
    the dummy, until one comes within 1 of it; and moves V and the two sub-concepts by the rank which the number of
    draws tells. The weights are averages over the steps. As in the authors' release, a label is said to be there where
    F_l > F_dummy + ``margin``, and the highest always (``decide: t_criterion``).

    A label of one class takes no part and scores (positives + 1) / (rows + 2).

    Args:
        variant: ``published`` goes through the pairs one by one as the release does, compiled (extra ``fast``);
            ``minibatch`` takes ``batch`` of them at once with the same weights, and adds their steps: other numbers,
            and no compiler.
        D: dimensions of the shared space.
        C: norm of the columns of V and W at the start, and the most they have.
        K: sub-concepts of each label.
        epochs: rounds through all pairs.
        eta: length of the first step.
        lambda_: how fast steps shorten.
        margin: by how much F_l is to exceed the dummy's for a score above 1/2.
        batch: pairs a step of ``minibatch``.
        standardise: instances by their mean and deviation over the training bags; the method hangs on their scale.
        tune, candidates, fitted: see :class:`retdm.methods.on_bags.base.TunedBagMethod`. Candidates are judged by
            :func:`retdm.methods.on_bags.base.wrong_pairs`, as in the paper by the ranking loss.
    """

    tuned = ("D", "C", "K", "epochs")
    fitted_buffers = ("mean", "deviation", "concepts", "fixed")
    mean: Tensor  # (d,)
    deviation: Tensor  # (d,)
    concepts: Tensor  # (C, K, d), in the instances' own space
    fixed: Tensor  # (L,) scores of labels of one class, NaN for others

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        variant: Literal["published", "minibatch"] = "published",
        D: int = 100,
        C: float = 10.0,
        K: int = 5,
        epochs: int = 10,
        eta: float = 0.005,
        lambda_: float = 1e-5,
        margin: float = 1.0,
        batch: int = 32,
        standardise: bool = True,
        candidates: Sequence[Sequence[float]] = CANDIDATES,
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, candidates=candidates, **fitted)
        check_positive(D=D, C=C, K=K, epochs=epochs, eta=eta, batch=batch)
        if lambda_ < 0:
            raise UserError(f"method.lambda_={lambda_} is out of range", "it is a number from 0 up")
        if variant not in ("published", "minibatch"):
            raise UserError(f"method.variant={variant} is not known", "published or minibatch")
        self.variant, self.D, self.C, self.K, self.epochs = variant, D, C, K, epochs
        self.eta, self.lambda_, self.batch = eta, lambda_, batch
        self.margin, self.standardise = margin, standardise
        self.objective: list[float] = []

    def fit_once(self, examples: Bags, target: NDArray[Any], known: NDArray[Any]) -> None:
        x = examples.instances.astype(np.float64)
        mean, deviation = mean_and_deviation(x, self.standardise)
        x = (x - mean) / deviation
        one = constant_labels(target, known)
        marks = np.ones((len(target), len(self.labels) + 1), np.int8)
        marks[:, :-1] = np.where(known & ~one, np.where(target > 0, 1, -1), 0)
        lacks = marks == -1
        lacks[:, -1] = True
        lacking, ends = np.nonzero(lacks)[1], np.append(0, lacks.sum(1).cumsum())
        run = published() if self.variant == "published" else minibatch(self.batch)
        rng = np.random.default_rng(self.seed)
        rates = Rates(float(self.eta), float(self.lambda_), float(self.C))  # machine code is made for each type
        weights = start(x.shape[1], self.D, marks.shape[1], self.K, rates.norm, rng)
        self.objective = []
        for _ in range(self.epochs):
            pairs = rng.permutation(np.argwhere(marks > 0))
            draws = rng.random((len(pairs), marks.shape[1]))
            self.objective.append(run(x, examples.offsets, lacking, ends, pairs, weights, rates, draws))
        space, concepts = averaged(weights)
        fixed = np.where(one, smoothed_prior(target, known), np.nan)
        self.set_fitted(mean=mean, deviation=deviation, concepts=concepts @ space.T, fixed=fixed)

    def values(self, bag: Tensor) -> Tensor:
        """Instances (B, N, d) to max_k w_lk·Vx (B, N, C)."""
        x = (bag - self.mean) / self.deviation
        found: Tensor = (x @ self.concepts.flatten(0, 1).T).unflatten(-1, self.concepts.shape[:2]).amax(-1)
        return found

    def bag_decision(self, bag: Tensor, mask: Tensor, index: Tensor) -> Tensor:
        return self._scores(self.values(bag).where(mask[..., None], -torch.inf).amax(1), self.margin)

    def instance_decision(self, bag: Tensor, mask: Tensor) -> Tensor:
        return self._scores(self.values(bag), 0)

    def _scores(self, values: Tensor, margin: float) -> Tensor:
        above = values[..., :-1] - values[..., -1:] - margin
        return softsign_score(above).where(self.fixed.isnan(), self.fixed)

    def cross_validation_loss(self, scores: Array, target: NDArray[Any], known: Bools) -> float:
        return wrong_pairs(scores, target, known)

    def details(self) -> dict[str, Any]:
        """Settings that were used; of each epoch, by how much the drawn labels came within 1 of those they were drawn
        for, on average."""
        return super().details() | {"objective": self.objective}


def start(d: int, D: int, C: int, K: int, norm: float, rng: np.random.Generator) -> Weights:
    """Random directions, each of the given norm, and empty sums."""
    space, concepts = rng.normal(size=(d, D)), rng.normal(size=(C, K, D))
    space *= norm / np.linalg.norm(space, axis=-1, keepdims=True)
    concepts *= norm / np.linalg.norm(concepts, axis=-1, keepdims=True)
    return Weights(space, concepts, np.zeros_like(space), np.zeros_like(concepts), np.zeros(2, np.int64))


def averaged(weights: Weights) -> tuple[Array, Array]:
    """Mean space and concepts; as they stand where there were too few pairs for any mean."""
    count = weights.counts[1]
    if not count:
        return weights.space, weights.concepts
    return weights.space_sum / count, weights.concepts_sum / count


# One round through all pairs of a bag with a label of its own, changing the weights: of
#   x float64 (T, d); offsets (n + 1,) where each bag's instances begin and the last's end;
#   lacking (S,) the labels that a bag lacks, the dummy behind them, bag after bag;
#   ends (n + 1,) where each bag's begin and the last's end;
#   pairs (P, 2) of a bag and a label in the order to take them; weights; rates; draws (P, C) in [0, 1).
# Returns by how much the drawn labels came within 1, mean over the pairs; 0 for a pair where none did.
Round = Callable[[Array, Places, Places, Places, Places, Weights, Rates, Array], float]


def published() -> Round:
    """Pair by pair, in machine code.

    Raises:
        UserError: numba is not installed.
    """
    try:
        from retdm.methods.components.mimlfast_steps import one_by_one
    except ImportError as error:
        raise UserError(
            "method.variant=published needs the package numba",
            'pip install "retdm[fast]", or method.variant=minibatch, which takes the pairs in another way',
        ) from error
    steps: Any = one_by_one
    return lambda *given: float(steps(*given, EACH))


def minibatch(size: int) -> Round:
    """``size`` pairs at a time: their steps are what they were alone, and are added."""

    def run(
        x: Array,
        offsets: Places,
        lacking: Places,
        ends: Places,
        pairs: Places,
        weights: Weights,
        rates: Rates,
        draws: Array,
    ) -> float:
        space, concepts, space_sum, concepts_sum = map(torch.from_numpy, weights[:4])  # the same memory
        dummy, K, D = len(concepts) - 1, concepts.shape[1], concepts.shape[2]
        harmonic = np.append(0, (1 / np.arange(1, dummy + 2)).cumsum())
        total = 0.0
        for begin in range(0, len(pairs), size):
            bag, label = pairs[begin : begin + size].T
            instances, mask = map(torch.from_numpy, Bags(x, offsets, np.arange(len(offsets) - 1)).take(bag).pad())
            seen = instances @ space  # (B, N, D)
            products = (seen @ concepts.flatten(0, 1).T).unflatten(-1, (dummy + 1, K))  # (B, N, C, K)
            products = products.masked_fill(~mask[..., None, None], -torch.inf)
            value, at = (found.numpy() for found in products.transpose(1, 2).flatten(2).max(-1))  # (B, C)
            candidates = ends[bag + 1] - ends[bag] - (label == dummy)
            row = np.arange(len(bag))
            drawn = ends[bag][:, None] + (draws[begin : begin + size] * candidates[:, None]).astype(np.int64)
            other = lacking[drawn.clip(max=len(lacking) - 1)]
            gap = 1 - value[row, label][:, None] + value[row[:, None], other]
            gap[np.arange(dummy + 1) >= candidates[:, None]] = 0  # so many are drawn, and no more
            first = (gap > 0).argmax(1)
            row = row[gap[row, first] > 0]
            first, label, other = first[row], label[row], other[row, first[row]]
            total += float(gap[row, first].sum())
            step = harmonic[candidates[row] // (first + 1)]
            step *= rates.eta / (1 + rates.lambda_ * weights.counts[0] * rates.eta)
            weights.counts[0] += len(row)
            length = torch.from_numpy(np.concatenate([step, -step]))[:, None]
            labels, rows = np.concatenate([label, other]), np.concatenate([row, row])
            instance, k = np.divmod(at[rows, labels], K)
            sub = torch.from_numpy(labels * K + k)
            moved = instances[rows, instance].T @ (length * concepts.view(-1, D)[sub])
            concepts.view(-1, D).index_add_(0, sub, length * seen[rows, instance])
            space += moved
            for columns in (space, concepts):
                columns *= (rates.norm / columns.norm(dim=-1, keepdim=True)).clamp(max=1)
            if weights.counts[0] > 0 and (begin + size) // EACH > begin // EACH:
                space_sum += space
                concepts_sum += concepts
                weights.counts[1] += 1
        return total / len(pairs)

    return run
