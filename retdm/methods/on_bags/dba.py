"""DBA, Dirichlet-Bernoulli alignment (Yang, Zha & Hu, NIPS 2009): a RECONSTRUCTION, not the authors' algorithm.

The paper's equations are for bags of words and its code is not public, so the updates below are our own, for a model
of the paper's structure. Each bag draws proportions of classes, theta ~ Dirichlet(alpha), one class a label; each
instance draws its class z from theta and its features from that class; and the bag has label l with probability
sigmoid(slope_l m_l + offset_l), m_l being the share of its instances that are of class l. The offset, without which no
label could be absent, the Gaussian features and the priors that keep estimates finite are ours.

Notation: n bags, T instances in all, B bags and N places of a batch, d features, L labels, C classes.
"""

from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.methods.components.labels import Bools, constant_labels, constant_scores
from retdm.methods.components.standardise import mean_and_deviation
from retdm.methods.on_bags.base import BagMethod
from retdm.ranges import Above, AtLeast

Emission = Literal["histogram", "gaussian"]
SMALLEST = 1e-3  # the least of alpha, and of the shares with which a fit starts
PASSES = 50  # of the inference of new bags
LOG_2PI = float(np.log(2 * np.pi))


class LabelModel(NamedTuple):
    """The logistic part of the model, and the labels of the bags that are fitted.

    Attributes:
        sign: (B, C) 1/2 for a positive label, -1/2 for a negative one, 0 for an unknown one.
        slope, offset: (C,)
    """

    sign: Tensor
    slope: Tensor
    offset: Tensor


class DBA(BagMethod):
    """A topic model of instances and labels, in which a bag's instances and labels share the same theta.

    It is fitted by variational expectation and maximisation. The lower bound on the log-likelihood (priors included)
    rises with every round: labels enter by Jaakkola and Jordan's quadratic bound, and the steps of a bag's instances,
    all taken at once, are damped as the bound's curvature requires. New bags are inferred without labels.

    A label without a known positive bag has no class; it, like every constant label, scores
    (positives + 1) / (rows + 2).

    Args:
        emission: ``histogram``: features are counts of words, and each class is a distribution of words; ``gaussian``:
            each class has a mean and a variance of each feature; None is ``histogram`` where no feature of any training
            instance is negative.
        words: mean number of words that the training histograms are rescaled to, because a normalised histogram does
            not say how much it weighs against the labels; None leaves them unscaled.
        smoothing: prior of each class, as a number of instances like the training bags' average.
        penalty: of half the squares of slopes and offsets.
        rounds: of expectation and maximisation.
        passes: over shares and labels in each expectation.
        fitted: see :class:`retdm.methods.on_bags.base.BagMethod`.
    """

    scores_instances = True
    mean: Tensor  # (d,)
    deviation: Tensor  # (d,)
    classes: Tensor  # (C,) int64, the label of each
    alpha: Tensor  # (C,)
    intercept: Tensor  # (C,) of the log-likelihood of features, intercept + linear·x + square·x²
    linear: Tensor  # (C, d)
    square: Tensor  # (C, d), 0 for histograms
    slope: Tensor  # (C,)
    offset: Tensor  # (C,)
    constant: Tensor  # (L,) scores of constant labels, NaN of others

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        emission: Emission | None = None,
        words: Annotated[float, Above(0)] | None = None,
        smoothing: Annotated[float, Above(0)] = 1.0,
        penalty: Annotated[float, Above(0)] = 0.01,
        rounds: Annotated[int, AtLeast(1)] = 30,
        passes: Annotated[int, AtLeast(1)] = 5,
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        self.emission, self.words, self.smoothing, self.penalty = emission, words, smoothing, penalty
        self.rounds, self.passes = rounds, passes
        self.objective: list[float] = []

    def fit_once(self, examples: Bags, target: NDArray[Any], known: Bools) -> None:
        x = examples.instances.astype(np.float64)
        emission: Emission = self.emission or ("gaussian" if (x < 0).any() else "histogram")
        mean, deviation = mean_and_deviation(x, emission == "gaussian")
        if emission == "histogram" and self.words and x.any():
            deviation *= x.sum(1).mean() / self.words
        positive = (target > 0) & known
        classes = np.flatnonzero(positive.any(0))
        self.set_fitted(mean=mean, deviation=deviation, classes=classes, constant=constant_scores(target, known))
        counts = torch.from_numpy((known & ~constant_labels(target, known))[:, classes]).double()
        has = torch.from_numpy(positive[:, classes]).double()
        mask = torch.from_numpy(examples.mask)
        rows = torch.from_numpy((x - mean) / deviation)
        share = (has + SMALLEST) / (has + SMALLEST).sum(1, keepdim=True)
        phi = share[:, None].expand(*mask.shape, -1) * mask[..., None]
        alpha = torch.ones(len(classes), dtype=torch.float64)
        labels = LabelModel((has - 0.5) * counts, torch.zeros_like(alpha), torch.zeros_like(alpha))
        gamma = alpha + phi.sum(1)
        parameters = alpha, alpha[:, None] * rows[0], alpha[:, None] * rows[0]
        self.objective = []
        for _ in range(self.rounds if len(classes) else 0):
            parameters, prior = fit_emission(rows, phi[mask], emission, self.smoothing)
            labels = fit_labels(phi, mask, labels, self.penalty)
            alpha = fit_alpha(alpha, gamma)
            evidence = torch.zeros_like(phi)
            evidence[mask] = likelihood(rows, *parameters)
            phi, gamma = infer(evidence, mask, alpha, phi, self.passes, labels)
            prior = prior - self.penalty / 2 * (labels.slope**2 + labels.offset**2).sum()
            self.objective.append(float(bound(evidence, mask, alpha, phi, gamma, labels) + prior))
        intercept, linear, square = parameters
        self.set_fitted(alpha=alpha, intercept=intercept, linear=linear, square=square)
        self.set_fitted(slope=labels.slope, offset=labels.offset)

    def class_probabilities(self, bag: Tensor, mask: Tensor) -> Tensor:
        """phi (B, N, C) of new bags (B, N, d) with their mask (B, N)."""
        rows = (bag - self.mean) / self.deviation
        evidence = likelihood(rows, self.intercept, self.linear, self.square)
        even = torch.ones_like(evidence) / max(1, len(self.classes)) * mask[..., None]
        return infer(evidence, mask, self.alpha, even, PASSES)[0]

    def bag_decision(self, bag: Tensor, mask: Tensor, index: Tensor) -> Tensor:
        share = self.class_probabilities(bag, mask).sum(1) / mask.sum(1, keepdim=True)
        scores = self.constant.expand(len(bag), -1).clone()
        scores[:, self.classes] = torch.sigmoid(self.slope * share + self.offset)
        return scores.where(self.constant.isnan(), self.constant)

    def instance_decision(self, bag: Tensor, mask: Tensor) -> Tensor:
        phi = self.class_probabilities(bag, mask)
        scores = phi.new_zeros(*mask.shape, len(self.labels))
        scores[..., self.classes] = phi
        return scores

    def details(self) -> dict[str, Any]:
        """The lower bound after each round."""
        return {"objective": self.objective}


# phi (B, N, C): probabilities of the instances' classes, 0 in empty places. gamma (B, C): the Dirichlets of the bags.


def likelihood(rows: Tensor, intercept: Tensor, linear: Tensor, square: Tensor) -> Tensor:
    """Log-likelihood of instances (…, d) under each class (…, C), but for terms that are the same for all classes."""
    return intercept + rows @ linear.T + rows**2 @ square.T


def fit_emission(
    rows: Tensor, phi: Tensor, emission: Emission, smoothing: float
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """The likeliest features of each class for instances (T, d) with class probabilities (T, C).

    Each class has ``smoothing`` instances more: the average histogram, or features of mean 0 and variance 1.

    Returns:
        The parameters that :func:`likelihood` takes; and the smoothing's term of the bound, ().
    """
    if emission == "histogram":
        average = rows.mean(0) + 1e-9  # a word that no instance has stays possible
        average = average[None] * smoothing
        counts = phi.T @ rows + average
        linear = counts.log() - counts.sum(1, keepdim=True).log()
        return (linear.new_zeros(len(linear)), linear, torch.zeros_like(linear)), (average * linear).sum()
    count = phi.sum(0)[:, None] + smoothing
    centre = phi.T @ rows / count
    variance = (phi.T @ rows**2 + smoothing) / count - centre**2
    intercept = -(centre**2 / variance + variance.log() + LOG_2PI).sum(1) / 2
    linear, square = centre / variance, -1 / (2 * variance)
    return (intercept, linear, square), smoothing * (intercept.sum() + square.sum())


def moments(phi: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean square of each class's share of a bag's instances, (B, C) each."""
    size = mask.sum(1, keepdim=True)
    share = phi.sum(1) / size
    return share, share**2 + (phi * (1 - phi)).sum(1) / size**2


def quadratic_bound(phi: Tensor, mask: Tensor, labels: LabelModel) -> tuple[Tensor, Tensor]:
    """Where each cell's quadratic bound touches, and its curvature, 0 for an unknown cell; (B, C) each."""
    share, square = moments(phi, mask)
    mean_square = labels.slope**2 * square + 2 * labels.slope * labels.offset * share + labels.offset**2
    at = mean_square.clamp(min=1e-12).sqrt()
    return at, torch.tanh(at / 2) / (4 * at) * (labels.sign != 0)


def fit_labels(phi: Tensor, mask: Tensor, labels: LabelModel, penalty: float) -> LabelModel:
    """The best slopes and offsets for the quadratic bound that touches at the present ones."""
    _, curve = quadratic_bound(phi, mask, labels)
    share, square = moments(phi, mask)
    a, b, c = 2 * (curve * square).sum(0) + penalty, 2 * (curve * share).sum(0), 2 * curve.sum(0) + penalty
    first, second = (labels.sign * share).sum(0), labels.sign.sum(0)
    determinant = a * c - b**2
    return LabelModel(labels.sign, (c * first - b * second) / determinant, (a * second - b * first) / determinant)


def fit_alpha(alpha: Tensor, gamma: Tensor, times: int = 5) -> Tensor:
    """A better alpha (C,) for the Dirichlets of n bags, gamma (n, C); at least ``SMALLEST``.

    Minka's fixed point ("Estimating a Dirichlet distribution", 2000), no step of which lowers the bound.
    """
    wanted = (torch.digamma(gamma) - torch.digamma(gamma.sum(1, keepdim=True))).mean(0)
    for _ in range(times):
        y = torch.digamma(alpha.sum()) + wanted
        alpha = torch.where(y > -2.22, y.exp() + 0.5, -1 / (y - torch.digamma(torch.ones_like(y))))
        for _ in range(5):
            alpha = alpha - (torch.digamma(alpha) - y) / torch.polygamma(1, alpha)
        alpha = alpha.clamp(min=SMALLEST)
    return alpha


def infer(
    evidence: Tensor, mask: Tensor, alpha: Tensor, phi: Tensor, passes: int, labels: LabelModel | None = None
) -> tuple[Tensor, Tensor]:
    """Classes of instances and the Dirichlets of bags, with their labels or without.

    Args:
        evidence: (B, N, C) log-likelihoods.
        mask: (B, N).
        alpha: (C,).
        phi: (B, N, C) to start with, above 0 where there is an instance.
        passes: over both in turn.
        labels: of the bags; None infers without.

    Returns:
        phi (B, N, C) and gamma (B, C).
    """
    size = mask.sum(1, keepdim=True)[..., None]
    log_phi = phi.where(mask[..., None], 1).log()
    for _ in range(passes):
        gamma = alpha + phi.sum(1)
        ascent, damping = evidence + torch.digamma(gamma)[:, None], torch.zeros(())
        if labels is not None:
            _, curve = quadratic_bound(phi, mask, labels)
            share = phi.sum(1) / size[:, 0]
            pull = labels.sign * labels.slope - 2 * curve * labels.slope * (labels.slope * share + labels.offset)
            steep = (curve * labels.slope**2)[:, None]
            ascent = ascent + pull[:, None] / size - steep * (1 - 2 * phi) / size**2
            # The square of the mean share curves by no more than this times the divergence from the old phi.
            damping = steep.amax(2, keepdim=True) / size
        log_phi = ((ascent + damping * log_phi) / (1 + damping)).log_softmax(2)
        phi = log_phi.exp() * mask[..., None]
    return phi, alpha + phi.sum(1)


def bound(evidence: Tensor, mask: Tensor, alpha: Tensor, phi: Tensor, gamma: Tensor, labels: LabelModel) -> Tensor:
    """The lower bound on the log-likelihood of all bags, for gamma (B, C) = alpha + the sum of phi."""
    dirichlet = torch.lgamma(gamma).sum() - torch.lgamma(gamma.sum(1)).sum()
    dirichlet = dirichlet + len(gamma) * (torch.lgamma(alpha.sum()) - torch.lgamma(alpha).sum())
    entropy = -torch.xlogy(phi, phi).sum()
    at, _ = quadratic_bound(phi, mask, labels)
    share, _ = moments(phi, mask)
    term = labels.sign * (labels.slope * share + labels.offset)
    term = term + (torch.nn.functional.logsigmoid(at) - at / 2) * (labels.sign != 0)
    return (phi * evidence).sum() + entropy + dirichlet + term.sum()
