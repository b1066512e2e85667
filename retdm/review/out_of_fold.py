"""Scores of every image of a data set by fits that did not see it, on features of a frozen backbone.

Notation: n images that can be read, F features, L labels.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.data.duplicates import groups_of
from retdm.data.modules import ImageData
from retdm.data.splits import folds_of
from retdm.display.screen import track
from retdm.methods.base import Method
from retdm.methods.components.encoder import BackboneEncoder
from retdm.methods.components.linear_probe import fit_probe
from retdm.methods.on_features.base import FeatureMethod
from retdm.runs.build import build_backbone, build_method, features_of
from retdm.settings.run_settings import RunSettings

log = logging.getLogger("retdm")

STRATIFIED = 20_000  # images up to which folds are stratified; of more, chance gives each fold its share
Progress = Callable[[Iterable[Any]], Iterable[Any]]


class Scored(NamedTuple):
    """The rows of a data set with their labels and scores.

    Attributes:
        rows: (n,), places in the data set, sorted.
        scores: (n, L) in [0, 1], each row's by the fit without its fold.
        target: uint8 (n, L) of 0 and 1.
        known: bool (n, L).
        words: what scored them.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    target: NDArray[np.uint8]
    known: NDArray[np.bool_]
    words: str


def score_out_of_fold(settings: RunSettings, data: ImageData, folds: int) -> Scored:
    """Score every image that can be read, copies of one picture in one fold.

    Features come from the cache where they are there. Groups that the data gives stay in one fold too. Folds have their
    share of each label where the images are at most 20,000.

    Args:
        settings: of the data, the backbone and, unless a logistic regression of its embedding is wanted, of a
            ``FeatureMethod``.
        data: the images.
        folds: at least 2.

    Raises:
        UserError: the images are too few for so many folds, or are no size that the backbone takes.
    """
    method = scoring_method(settings, data.labels)
    rows = np.sort(data.readable)
    x = features_of_rows(features_of(settings, data, method), rows)
    target, known = data.source.targets[rows], data.source.known[rows]
    near = data.pairs["near"] is not None
    groups = groups_of(data.pairs, "near" if near else "identical", len(data.source), data.source.group_of)
    assert groups is not None
    stratified = len(rows) <= STRATIFIED
    of = target if stratified else None
    fold = folds_of(len(rows), folds, seed=settings.seed, groups=groups[rows], targets=of)
    fitted = method if isinstance(method, FeatureMethod) else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        scores = scores_of_folds(fitted, x, target, known, fold, progress=lambda each: track(each, "folds"))
    whose = "logistic regression" if fitted is None else settings.choices["method"]
    words = f"{whose} on features of {settings.network}, {folds} folds{', stratified' * stratified}"
    return Scored(rows, scores, target, known, words)


def scoring_method(settings: RunSettings, labels: list[str]) -> Method:
    """The method of the settings or, where they name none, one that has a frozen backbone and its embedding alone."""
    if settings.method:
        return build_method(settings, labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        backbone = build_backbone(settings, load=True).freeze()
    method = Method(backbone, labels)
    method.encoder = BackboneEncoder(backbone)
    if settings.trainer["precision"] == "bf16-mixed":
        method.encoder.autocast = torch.bfloat16
    method.to(memory_format=torch.channels_last)
    return method.eval()


def scores_of_folds(
    method: FeatureMethod | None,
    x: Tensor,
    target: NDArray[np.uint8],
    known: NDArray[np.bool_],
    fold: NDArray[np.int64],
    *,
    progress: Progress = iter,
) -> NDArray[np.float64]:
    """Scores (n, L) of each row by a fit to the rows of the other folds.

    Args:
        method: fitted anew for each fold; None is a logistic regression, whose penalty is chosen by the same folds.
        x: (n, F) features.
        target: (n, L) of 0 and 1.
        known: (n, L).
        fold: (n,) of each row.
        progress: shows how many fits are done.
    """
    if method is None:
        labels = torch.from_numpy(target), torch.from_numpy(known)
        return fit_probe(x, *labels, folds=fold, progress=progress).scores.double().numpy()
    method.to("cpu")
    scores = np.zeros(target.shape)
    for held in progress(np.unique(fold).tolist()):
        fit, rest = fold != held, fold == held
        method.fit(x[fit].numpy(), target[fit], known[fit])
        with torch.no_grad():
            scores[rest] = method.decision(x[rest].double()).numpy()
    return scores


def features_of_rows(data: Any, rows: NDArray[np.int64]) -> Tensor:
    """The features (n, F) of some rows, float32."""
    return torch.cat([batch.features.float() for batch in data.batches_of(rows)])
