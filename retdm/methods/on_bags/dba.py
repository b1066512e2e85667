"""DBA, Dirichlet-Bernoulli alignment (Yang, Zha & Hu, NIPS 2009): a RECONSTRUCTION, not the authors' to the letter.

The paper's equations are for bags of words and its code is not public, so the updates below are our own, for a model
that has the paper's parts. Each bag draws shares of classes, theta ~ Dirichlet(alpha), one class a label; each instance
draws its class z from theta and its features from that class; and a label l of the bag is there with probability
sigmoid(slope_l m_l + offset_l), m_l the share of its instances that are of class l. The offset, without which no
label could be said to be absent, the Gaussian features and what keeps estimates finite are ours.

Notation: n bags, T instances in all, B bags and N places at once, d features, L labels, C classes.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.errors import UserError
from retdm.methods.components.shallow import check_positive, constant_labels, mean_and_deviation, smoothed_prior
from retdm.methods.fitted import BagMethod

Emission = Literal["histogram", "gaussian"]
SMALLEST = 1e-3  # of the shares that fits start with, and of alpha
PASSES = 50  # of the inference for new bags
LOG_2PI = float(np.log(2 * np.pi))


class Marks(NamedTuple):
    """What the labels say in fitting.

    Attributes:
        sign: (B, C) 1/2 for a label that is there, -1/2 for one that is not, 0 where unknown.
        slope, offset: (C,)
    """

    sign: Tensor
    slope: Tensor
    offset: Tensor


class DBA(BagMethod):
    """Fitted by variational expectation and maximisation; instances and labels of one class meet in the same theta.

    The lower bound on the log-likelihood (with what keeps the estimates finite) rises with every round: labels enter by
    Jaakkola and Jordan's quadratic bound, and steps for the instances of a bag, all taken at once, are damped by what
    the bound's curvature asks for. New bags are inferred without labels.

    A label that no training bag is known to carry has no class; it, and a label of one class, scores
    (positives + 1) / (rows + 2).

    Args:
        emission: ``histogram``, features are counts of words, each class a distribution of words; ``gaussian``, each
            class has a mean and a variance for each feature; None is ``histogram`` where no feature of any training
            instance is negative.
        words: that the training bags' histograms are to hold on average, because a normalised one does not tell how
            much it weighs against the labels; None leaves them as they come.
        smoothing: instances like the training bags' average that each class is thought to have had beforehand.
        penalty: on half the squares of slopes and offsets.
        rounds: of expectation and maximisation.
        passes: over shares and labels in each expectation.
        fitted: see :class:`retdm.methods.fitted.BagMethod`.
    """

    fitted_buffers = (
        "mean",
        "deviation",
        "classes",
        "alpha",
        "constant",
        "linear",
        "square",
        "slope",
        "offset",
        "fixed",
    )
    mean: Tensor  # (d,)
    deviation: Tensor  # (d,)
    classes: Tensor  # (C,) int64, the label of each
    alpha: Tensor  # (C,)
    constant: Tensor  # (C,) of the log-likelihood of features, constant + linear·x + square·x²
    linear: Tensor  # (C, d)
    square: Tensor  # (C, d), 0 for histograms
    slope: Tensor  # (C,)
    offset: Tensor  # (C,)
    fixed: Tensor  # (L,) scores of labels of one class, NaN for others

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        emission: Emission | None = None,
        words: float | None = None,
        smoothing: float = 1.0,
        penalty: float = 0.01,
        rounds: int = 30,
        passes: int = 5,
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        check_positive(smoothing=smoothing, penalty=penalty, rounds=rounds, passes=passes)
        check_positive(words=1.0 if words is None else words)
        if emission not in (None, "histogram", "gaussian"):
            raise UserError(
                f"method.emission={emission} is not known", "histogram, gaussian, or null to look at the data"
            )
        self.emission, self.words, self.smoothing, self.penalty = emission, words, smoothing, penalty
        self.rounds, self.passes = rounds, passes
        self.objective: list[float] = []

    def fit(self, examples: Bags, target: NDArray[Any], known: NDArray[Any]) -> None:
        x = examples.instances.astype(np.float64)
        emission: Emission = self.emission or ("gaussian" if (x < 0).any() else "histogram")
        mean, deviation = mean_and_deviation(x, standardise=emission == "gaussian")
        if emission == "histogram" and self.words and x.any():
            deviation *= x.sum(1).mean() / self.words
        one = constant_labels(target, known)
        carried = (target > 0) & known
        classes = np.flatnonzero(carried.any(0))
        self.set_fitted(mean=mean, deviation=deviation, classes=classes)
        self.set_fitted(fixed=np.where(one, smoothed_prior(target, known), np.nan))
        says = torch.from_numpy((known & ~one)[:, classes]).double()
        sign = (torch.from_numpy(carried[:, classes]).double() - 0.5) * says
        mask = torch.from_numpy(examples.mask)
        rows = torch.from_numpy((x - mean) / deviation)
        begin = torch.from_numpy(carried[:, classes]).double() + SMALLEST
        share = (begin / begin.sum(1, keepdim=True))[:, None].expand(*mask.shape, -1) * mask[..., None]
        alpha = torch.ones(len(classes), dtype=torch.float64)
        marks = Marks(sign, torch.zeros_like(alpha), torch.zeros_like(alpha))
        gamma = alpha + share.sum(1)
        parameters = alpha, alpha[:, None] * rows[0], alpha[:, None] * rows[0]
        self.objective = []
        for _ in range(self.rounds if len(classes) else 0):
            parameters, prior = emitted(rows, share[mask], emission, self.smoothing)
            marks = aligned(share, mask, marks, self.penalty)
            alpha = refined(alpha, gamma)
            evidence = torch.zeros_like(share)
            evidence[mask] = likelihood(rows, *parameters)
            share, gamma = inferred(evidence, mask, alpha, share, self.passes, marks)
            prior = prior - self.penalty / 2 * (marks.slope**2 + marks.offset**2).sum()
            self.objective.append(float(bound(evidence, mask, alpha, share, gamma, marks) + prior))
        constant, linear, square = parameters
        self.set_fitted(
            alpha=alpha, constant=constant, linear=linear, square=square, slope=marks.slope, offset=marks.offset
        )

    def shares_of(self, bag: Tensor, mask: Tensor) -> Tensor:
        """Bags (B, N, d) to the probability of each class for each instance (B, N, C), 0 in empty places."""
        rows = (bag - self.mean) / self.deviation
        evidence = likelihood(rows, self.constant, self.linear, self.square)
        even = torch.ones_like(evidence) / max(1, len(self.classes)) * mask[..., None]
        return inferred(evidence, mask, self.alpha, even, PASSES)[0]

    def bag_decision(self, bag: Tensor, mask: Tensor, index: Tensor) -> Tensor:
        part = self.shares_of(bag, mask).sum(1) / mask.sum(1, keepdim=True)
        scores = self.fixed.expand(len(bag), -1).clone()
        scores[:, self.classes] = torch.sigmoid(self.slope * part + self.offset)
        return scores.where(self.fixed.isnan(), self.fixed)

    def instance_decision(self, bag: Tensor, mask: Tensor) -> Tensor:
        share = self.shares_of(bag, mask)
        scores = share.new_zeros(*mask.shape, len(self.labels))
        scores[..., self.classes] = share
        return scores

    def details(self) -> dict[str, Any]:
        """The lower bound after each round."""
        return {"objective": self.objective}


def likelihood(rows: Tensor, constant: Tensor, linear: Tensor, square: Tensor) -> Tensor:
    """Log-likelihood of instances (…, d) under each class (…, C), but for what is the same for all."""
    return constant + rows @ linear.T + rows**2 @ square.T


def emitted(
    rows: Tensor, share: Tensor, emission: Emission, smoothing: float
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """The likeliest features of each class for instances (T, d) with probabilities (T, C) of the classes.

    Each class has ``smoothing`` instances more: the average histogram, or features of mean 0 and variance 1.

    Returns:
        What :func:`likelihood` takes of each class; and what the bound has for the smoothing, ().
    """
    if emission == "histogram":
        average = rows.mean(0) + 1e-9  # a word that nobody has stays possible
        average = average[None] * smoothing
        found = share.T @ rows + average
        linear = found.log() - found.sum(1, keepdim=True).log()
        return (linear.new_zeros(len(linear)), linear, torch.zeros_like(linear)), (average * linear).sum()
    count = share.sum(0)[:, None] + smoothing
    centre = share.T @ rows / count
    variance = (share.T @ rows**2 + smoothing) / count - centre**2
    constant = -(centre**2 / variance + variance.log() + LOG_2PI).sum(1) / 2
    linear, square = centre / variance, -1 / (2 * variance)
    return (constant, linear, square), smoothing * (constant.sum() + square.sum())


def moments(share: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean square of the part of a bag's instances that is of each class, (B, C) each."""
    size = mask.sum(1, keepdim=True)
    part = share.sum(1) / size
    return part, part**2 + (share * (1 - share)).sum(1) / size**2


def widths(share: Tensor, mask: Tensor, marks: Marks) -> tuple[Tensor, Tensor]:
    """Where the quadratic bound of each known cell touches, and its curvature (0 for an unknown cell). (B, C) each"""
    part, square = moments(share, mask)
    mean_square = marks.slope**2 * square + 2 * marks.slope * marks.offset * part + marks.offset**2
    at = mean_square.clamp(min=1e-12).sqrt()
    return at, torch.tanh(at / 2) / (4 * at) * (marks.sign != 0)


def aligned(share: Tensor, mask: Tensor, marks: Marks, penalty: float) -> Marks:
    """The marks with the best slopes and offsets for the quadratic bound that touches at the old ones."""
    _, curve = widths(share, mask, marks)
    part, square = moments(share, mask)
    a, b, c = 2 * (curve * square).sum(0) + penalty, 2 * (curve * part).sum(0), 2 * curve.sum(0) + penalty
    first, second = (marks.sign * part).sum(0), marks.sign.sum(0)
    determinant = a * c - b**2
    return Marks(marks.sign, (c * first - b * second) / determinant, (a * second - b * first) / determinant)


def refined(alpha: Tensor, gamma: Tensor, times: int = 5) -> Tensor:
    """Better alpha (C,) for bags' Dirichlets (n, C), kept off 0.

    Minka's fixed point ("Estimating a Dirichlet distribution", 2000), which lowers the bound at no step.
    """
    wanted = (torch.digamma(gamma) - torch.digamma(gamma.sum(1, keepdim=True))).mean(0)
    for _ in range(times):
        y = torch.digamma(alpha.sum()) + wanted
        alpha = torch.where(y > -2.22, y.exp() + 0.5, -1 / (y - torch.digamma(torch.ones_like(y))))
        for _ in range(5):
            alpha = alpha - (torch.digamma(alpha) - y) / torch.polygamma(1, alpha)
        alpha = alpha.clamp(min=SMALLEST)
    return alpha


def inferred(
    evidence: Tensor, mask: Tensor, alpha: Tensor, share: Tensor, passes: int, marks: Marks | None = None
) -> tuple[Tensor, Tensor]:
    """Classes of instances and the Dirichlets of bags, with their labels or without.

    Args:
        evidence: (B, N, C) log-likelihoods.
        mask: (B, N).
        alpha: (C,).
        share: (B, N, C) to start with, 0 in empty places; above 0 elsewhere.
        passes: over both in turn.
        marks: the labels.

    Returns:
        share (B, N, C) and gamma (B, C).
    """
    there = mask[..., None]
    size = mask.sum(1, keepdim=True)[..., None]
    log_share = share.where(there, 1).log()
    for _ in range(passes):
        gamma = alpha + share.sum(1)
        ascent, damping = evidence + torch.digamma(gamma)[:, None], torch.zeros(())
        if marks is not None:
            _, curve = widths(share, mask, marks)
            part = share.sum(1) / size[:, 0]
            pull = marks.sign * marks.slope - 2 * curve * marks.slope * (marks.slope * part + marks.offset)
            steep = (curve * marks.slope**2)[:, None]
            ascent = ascent + pull[:, None] / size - steep * (1 - 2 * share) / size**2
            # The mean's square curves by no more than this times the divergence from the old shares.
            damping = steep.amax(2, keepdim=True) / size
        log_share = ((ascent + damping * log_share) / (1 + damping)).log_softmax(2)
        share = log_share.exp() * there
    return share, alpha + share.sum(1)


def bound(evidence: Tensor, mask: Tensor, alpha: Tensor, share: Tensor, gamma: Tensor, marks: Marks) -> Tensor:
    """The lower bound on the log-likelihood of all bags, where gamma (B, C) is alpha with the shares added."""
    dirichlet = torch.lgamma(gamma).sum() - torch.lgamma(gamma.sum(1)).sum()
    dirichlet = dirichlet + len(gamma) * (torch.lgamma(alpha.sum()) - torch.lgamma(alpha).sum())
    entropy = -torch.xlogy(share, share).sum()
    at, _ = widths(share, mask, marks)
    part, _ = moments(share, mask)
    label = marks.sign * (marks.slope * part + marks.offset)
    label = label + (torch.nn.functional.logsigmoid(at) - at / 2) * (marks.sign != 0)
    return (share * evidence).sum() + entropy + dirichlet + label.sum()
