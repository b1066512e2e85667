"""MIMLfast (Huang, Gao & Zhou, AAAI 2014): sub-concepts of labels in a space that all labels share.

Notation: n bags, T instances in all, d features, D dimensions of the shared space, L labels, C = L + 1 with the dummy
label behind them, K sub-concepts of each.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.errors import UserError
from retdm.methods.components.labels import Array, Bools, constant_labels, constant_scores
from retdm.methods.components.softsign import softsign_score
from retdm.methods.components.standardise import standardised
from retdm.methods.on_bags.base import BagMethod
from retdm.methods.tuning import wrong_pairs
from retdm.ranges import Above, AtLeast

Places = NDArray[np.int64]
EACH = 10  # pairs between two weights that enter the average


class Rates(NamedTuple):
    """The length of the t-th step, ``eta`` / (1 + ``lambda_`` t ``eta``), and the norm that no column exceeds."""

    eta: float
    lambda_: float
    norm: float


class Weights(NamedTuple):
    """The shared space (d, D) and the sub-concepts (C, K, D): present values, and sums for the averages.

    ``counts`` int64 (2,): steps so far, and terms of the sums.
    """

    space: Array
    concepts: Array
    space_sum: Array
    concepts_sum: Array
    counts: Places


class MIMLfast(BagMethod):
    """Ranks the positive labels of a bag above its negative ones, and a dummy label between them, which decides sets.

    An instance x scores max_k w_lk·Vx for a label, and a bag scores as its highest instance does, F_l. Each step takes
    a bag and one of its positive labels, or the dummy, which is ranked below these; draws negative labels, or the
    dummy, until one comes within 1 of it; and moves V and the two sub-concepts in proportion to the rank that the
    number of draws implies. The weights are averages over the steps. As in the authors' release, a label is predicted
    where F_l > F_dummy + ``margin``, and the highest always (``decide: t_criterion``).

    A constant label is left out and scores (positives + 1) / (rows + 2).

    Args:
        variant: ``published`` takes the pairs of a bag and a label one by one as the release does, compiled (extra
            ``fast``); ``minibatch`` takes ``batch`` of them at once with the same weights, and adds their steps: other
            numbers, and no compiler.
        D: dimensions of the shared space.
        C: norm of the columns of V and W at the start, and the largest they may have.
        K: sub-concepts of each label.
        epochs: rounds through all pairs.
        eta: length of the first step.
        lambda_: how fast steps shorten.
        margin: by how much F_l must exceed the dummy's for a score above 1/2.
        batch: pairs a step of ``minibatch``.
        standardise: instances by their mean and deviation over the training bags; the method depends on their scale.
        fitted: see :class:`retdm.methods.on_bags.base.BagMethod`. Trials are compared by
            :func:`retdm.methods.tuning.wrong_pairs`, the ranking loss, as in the paper.
    """

    scores_instances = True
    # Values of the paper's grid, more epochs, and last the settings of another copy of the release.
    candidates = (
        {"D": (100, 200), "C": (1.0, 5.0, 10.0), "K": (5,), "epochs": (10, 50)},
        {"D": (200,), "C": (15.0,), "K": (1,), "epochs": (25,)},
    )
    mean: Tensor  # (d,)
    deviation: Tensor  # (d,)
    concepts: Tensor  # (C, K, d), in the instances' own space
    constant: Tensor  # (L,) scores of constant labels, NaN of others

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        variant: Literal["published", "minibatch"] = "published",
        D: Annotated[int, AtLeast(1)] = 100,
        C: Annotated[float, Above(0)] = 10.0,
        K: Annotated[int, AtLeast(1)] = 5,
        epochs: Annotated[int, AtLeast(1)] = 10,
        eta: Annotated[float, Above(0)] = 0.005,
        lambda_: Annotated[float, AtLeast(0)] = 1e-5,
        margin: float = 1.0,
        batch: Annotated[int, AtLeast(1)] = 32,
        standardise: bool = True,
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        self.variant, self.D, self.C, self.K, self.epochs = variant, D, C, K, epochs
        self.eta, self.lambda_, self.batch = eta, lambda_, batch
        self.margin, self.standardise = margin, standardise
        self.objective: list[float] = []

    def fit_once(self, examples: Bags, target: NDArray[Any], known: Bools) -> None:
        x, mean, deviation = standardised(examples.instances.astype(np.float64), self.standardise)
        counts = known & ~constant_labels(target, known)
        dummy = np.ones((len(target), 1), bool)
        positive = np.concatenate([counts & (target > 0), dummy], 1)
        negative = np.concatenate([counts & (target == 0), dummy], 1)
        negatives, ends = np.nonzero(negative)[1], np.append(0, negative.sum(1).cumsum())
        run = published() if self.variant == "published" else minibatch(self.batch)
        rng = np.random.default_rng(self.seed)
        rates = Rates(float(self.eta), float(self.lambda_), float(self.C))  # machine code is compiled for each type
        weights = start(x.shape[1], self.D, positive.shape[1], self.K, rates.norm, rng)
        self.objective = []
        for _ in range(self.epochs):
            pairs = rng.permutation(np.argwhere(positive))
            draws = rng.random((len(pairs), positive.shape[1]))
            self.objective.append(run(x, examples.offsets, negatives, ends, pairs, weights, rates, draws))
        space, concepts = averaged(weights)
        constant = constant_scores(target, known)
        self.set_fitted(mean=mean, deviation=deviation, concepts=concepts @ space.T, constant=constant)

    def values(self, bag: Tensor) -> Tensor:
        """max_k w_lk·Vx (B, N, C) of instances (B, N, d)."""
        x = (bag - self.mean) / self.deviation
        found: Tensor = (x @ self.concepts.flatten(0, 1).T).unflatten(-1, self.concepts.shape[:2]).amax(-1)
        return found

    def bag_decision(self, bag: Tensor, mask: Tensor, index: Tensor) -> Tensor:
        return self._scores(self.values(bag).where(mask[..., None], -torch.inf).amax(1), self.margin)

    def instance_decision(self, bag: Tensor, mask: Tensor) -> Tensor:
        return self._scores(self.values(bag), 0)

    def _scores(self, values: Tensor, margin: float) -> Tensor:
        above = values[..., :-1] - values[..., -1:] - margin
        return softsign_score(above).where(self.constant.isnan(), self.constant)

    def cross_validation_loss(self, scores: Array, target: NDArray[Any], known: Bools) -> float:
        return wrong_pairs(scores, target, known)

    def details(self) -> dict[str, Any]:
        """The settings that were used, and of each epoch the mean excess over the margin of 1 by drawn labels."""
        return super().details() | {"objective": self.objective}


def start(d: int, D: int, C: int, K: int, norm: float, rng: np.random.Generator) -> Weights:
    """Random directions, each of the given norm, and empty sums."""
    space, concepts = rng.normal(size=(d, D)), rng.normal(size=(C, K, D))
    space *= norm / np.linalg.norm(space, axis=-1, keepdims=True)
    concepts *= norm / np.linalg.norm(concepts, axis=-1, keepdims=True)
    return Weights(space, concepts, np.zeros_like(space), np.zeros_like(concepts), np.zeros(2, np.int64))


def averaged(weights: Weights) -> tuple[Array, Array]:
    """Mean space and concepts; the present ones where there were too few pairs for a mean."""
    count = weights.counts[1]
    if not count:
        return weights.space, weights.concepts
    return weights.space_sum / count, weights.concepts_sum / count


# One round through all pairs of a bag and a positive label, which changes the weights in place. It takes
#   x float64 (T, d), instances, bag after bag; offsets (n + 1,), where each bag's begin and the last's end;
#   negatives (S,), the negative labels of each bag with the dummy behind them, bag after bag;
#   ends (n + 1,), where each bag's begin and the last's end;
#   pairs (P, 2) of a bag and a label, in the order to take them; weights; rates; draws (P, C) in [0, 1).
# It returns the mean over the pairs of 1 - F_l + F_drawn where a label was drawn for which that is above 0, else 0.
Round = Callable[[Array, Places, Places, Places, Places, Weights, Rates, Array], float]


def published() -> Round:
    """A round that takes the pairs one by one, in machine code.

    Raises:
        UserError: numba is not installed.
    """
    try:
        from retdm.methods.components.mimlfast_steps import one_by_one
    except ImportError as error:
        raise UserError(
            "method.variant=published needs the package numba",
            'pip install "retdm[fast]", or method.variant=minibatch, which takes several pairs at once',
        ) from error
    return partial(one_by_one, each=EACH)


def minibatch(size: int) -> Round:
    """A round that takes ``size`` pairs at a time: each has the step that it would have alone, and steps are added."""

    def run(
        x: Array,
        offsets: Places,
        negatives: Places,
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
            # What each bag scores for each label, and which instance and sub-concept gave it.
            mapped = instances @ space  # (B, N, D)
            products = (mapped @ concepts.flatten(0, 1).T).unflatten(-1, (dummy + 1, K))  # (B, N, C, K)
            products = products.masked_fill(~mask[..., None, None], -torch.inf)
            value, at = (found.numpy() for found in products.transpose(1, 2).flatten(2).max(-1))  # (B, C)
            # Draw negative labels until one comes within 1 of the pair's own.
            candidates = ends[bag + 1] - ends[bag] - (label == dummy)
            row = np.arange(len(bag))
            drawn = ends[bag][:, None] + (draws[begin : begin + size] * candidates[:, None]).astype(np.int64)
            other = negatives[drawn.clip(max=len(negatives) - 1)]
            gap = 1 - value[row, label][:, None] + value[row[:, None], other]
            gap[np.arange(dummy + 1) >= candidates[:, None]] = 0  # no more labels are drawn than there are
            first = (gap > 0).argmax(1)
            row = row[gap[row, first] > 0]
            first, label, other = first[row], label[row], other[row, first[row]]
            total += float(gap[row, first].sum())
            # Move both labels' sub-concepts and the space, each pair by its own step.
            step = harmonic[candidates[row] // (first + 1)]
            step *= rates.eta / (1 + rates.lambda_ * weights.counts[0] * rates.eta)
            weights.counts[0] += len(row)
            length = torch.from_numpy(np.concatenate([step, -step]))[:, None]
            labels, rows = np.concatenate([label, other]), np.concatenate([row, row])
            instance, k = np.divmod(at[rows, labels], K)
            sub = torch.from_numpy(labels * K + k)
            moved = instances[rows, instance].T @ (length * concepts.view(-1, D)[sub])
            concepts.view(-1, D).index_add_(0, sub, length * mapped[rows, instance])
            space += moved
            for columns in (space, concepts):
                columns *= (rates.norm / columns.norm(dim=-1, keepdim=True)).clamp(max=1)
            if weights.counts[0] > 0 and (begin + size) // EACH > begin // EACH:
                space_sum += space
                concepts_sum += concepts
                weights.counts[1] += 1
        return total / len(pairs)

    return run
