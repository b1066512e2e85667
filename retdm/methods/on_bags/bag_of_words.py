"""A bag as the histogram of its instances' visual words (Csurka et al., ECCV workshop 2004)."""

from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics.pairwise import chi2_kernel
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.methods.components.classifiers import fit_machines
from retdm.methods.components.clustering import k_means
from retdm.methods.components.labels import Bools
from retdm.methods.components.logistic_solver import fit_lines, with_ones
from retdm.methods.components.softsign import softsign_score
from retdm.methods.components.standardise import standardised
from retdm.methods.on_bags.base import BagMethod, over_bags
from retdm.ranges import Above, AtLeast

CHUNK = 1 << 22  # numbers that are held at once where histograms are compared


class BagOfWords(BagMethod):
    """A classifier on a bag's histogram: the share of its instances that is nearest to each word, words being means of
    clusters of the training instances.

    Args:
        words: their number; at most as many as there are different instances.
        classifier: on the histograms: ``logistic`` regression, or ``chi2``, a support vector machine with the kernel
            exp(-gamma sum of (h - h')² / (h + h')).
        C: weight of the classifier's losses.
        gamma: of the chi² kernel.
        standardise: divide each feature by its deviation over the training instances before clustering.
        fitted: see :class:`retdm.methods.on_bags.base.BagMethod`.
    """

    candidates = {"C": (0.3, 1.0, 3.0, 10.0, 30.0)}
    mean: Tensor  # (D,)
    deviation: Tensor  # (D,)
    centres: Tensor  # (K, D) the words, standardised
    support: Tensor  # (T, K) support histograms of machines; (0, K) for logistic
    coefficients: Tensor  # (L, T) duals of the support, or for logistic (L, K)
    intercepts: Tensor  # (L,)

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        words: Annotated[int, AtLeast(1)] = 100,
        classifier: Literal["logistic", "chi2"] = "logistic",
        C: Annotated[float, Above(0)] = 10.0,
        gamma: Annotated[float, Above(0)] = 1.0,
        standardise: bool = True,
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        self.words, self.classifier, self.C, self.gamma, self.standardise = words, classifier, C, gamma, standardise

    def fit_once(self, examples: Bags, target: NDArray[Any], known: Bools) -> None:
        instances, mean, deviation = standardised(examples.instances.astype(np.float64), self.standardise)
        found, _ = k_means(instances, self.words, self.seed)
        self.set_fitted(mean=mean, deviation=deviation, centres=found)
        x = over_bags(lambda bag, mask, _: self.histograms(bag, mask), examples, self.device)
        if self.classifier == "chi2":
            kernel = chi2_kernel(x, gamma=self.gamma)
            machines = fit_machines(kernel, target, known, kernel="precomputed", C=self.C)
            support = machines.support
            self.set_fitted(support=x[support], coefficients=machines.duals[:, support], intercepts=machines.intercepts)
        else:
            lines = fit_lines(with_ones(x), target > 0, known, 1 / self.C)
            self.set_fitted(support=x[:0], coefficients=lines[:, :-1], intercepts=lines[:, -1])

    def histograms(self, bag: Tensor, mask: Tensor) -> Tensor:
        """The share of a bag's instances nearest to each word (B, K), of bags (B, N, D) with their mask (B, N)."""
        word = torch.cdist((bag - self.mean) / self.deviation, self.centres).argmin(2)
        counts = bag.new_zeros(len(bag), len(self.centres)).scatter_add_(1, word, mask.to(bag.dtype))
        return counts / mask.sum(1, keepdim=True)

    def bag_decision(self, bag: Tensor, mask: Tensor, index: Tensor) -> Tensor:
        x = self.histograms(bag, mask)
        if self.classifier == "logistic":
            return (x @ self.coefficients.T + self.intercepts).sigmoid()
        kernel = torch.exp(-self.gamma * chi2_distance(x, self.support))
        return softsign_score(kernel @ self.coefficients.T + self.intercepts)

    def details(self) -> dict[str, Any]:
        """C that was used, and the number of words that were found."""
        return super().details() | {"words": len(self.centres)}


def chi2_distance(x: Tensor, y: Tensor) -> Tensor:
    """Sum of (x - y)² / (x + y) over features that are not 0 in both. (B, K), (T, K) -> (B, T)"""
    chunk = max(1, CHUNK // max(1, y.numel()))
    found = []
    for part in x.split(chunk):
        difference, total = part[:, None] - y, part[:, None] + y
        found.append((difference**2 / total.where(total > 0, 1)).sum(2))
    return torch.cat(found)
