"""A linear probe: a logistic regression of a frozen network's features, at which its training begins.

Notation: n rows, F features, L labels.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from retdm.methods.components.labels import Array, Bools, smoothed_prior
from retdm.methods.components.logistic_solver import fit_lines, principal_axes, with_ones
from retdm.methods.components.standardise import standardised

STRENGTHS = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
Progress = Callable[[Iterable[Any]], Iterable[Any]]
SAMPLE = 20_000  # rows by which the strength is chosen, at most
ROUGH, EXACT = 1e-4, 1e-6  # tolerances of the solver, in cross-validation and of the fit that stays


class Probe(NamedTuple):
    """Logistic regressions of all labels on standardised features; all tensors float32.

    Attributes:
        mean: (F,) of the training rows.
        deviation: (F,), 1 where a feature is constant.
        weight: (L, F), for standardised features; 0 for a constant label.
        bias: (L,); the log-odds of a constant label's prior.
        strength: of the L2 penalty, chosen by cross-validation.
        scores: (n, L), the probabilities of each training row by the fit that left out its fold, at that strength.
        log_odds: (L,) of each label's smoothed prior, its positives weighed as in the fit.
    """

    mean: Tensor
    deviation: Tensor
    weight: Tensor
    bias: Tensor
    strength: float
    scores: Tensor
    log_odds: Tensor


def fit_probe(
    features: Tensor,
    target: Tensor,
    known: Tensor,
    *,
    pos_weight: Tensor | None = None,
    strengths: Sequence[float] = STRENGTHS,
    folds: int | NDArray[np.int64] = 4,
    seed: int = 0,
    progress: Progress = iter,
) -> Probe:
    """Minimise (1/n) Σ log-losses of the known cells + strength/2 ‖W‖², with W on standardised features ÷ √F.

    Division by √F makes a strength mean the same for any number of features: a row's squared length is 1 on average.
    Biases bear no penalty. One strength serves all labels: the strengths are tried from the strongest on until the
    log-loss over the folds rises, and the one with the least is taken (at a tie the strongest). Of more than 20,000
    rows, a sample of so many chooses it.

    Args:
        features: (n, F).
        target: (n, L) of 0 and 1.
        known: (n, L), true where the cell of ``target`` is known. An unknown one counts in no loss.
        pos_weight: (L,), above 0, by which the log-loss of a positive cell of each label is multiplied; None: 1.
        strengths: of the penalty, from which to choose.
        folds: of the rows, for strength and scores: how many are drawn, or the fold of each row (n,).
        seed: of the folds that are drawn, and of the sample.
        progress: shows how many strengths are done, like ``retdm.display.screen.track``; 80 labels in 20,000 rows
            take minutes.

    Returns:
        The fit to all rows at the strength that was chosen, and the scores of the fits to the folds.
    """
    x, mean, deviation = standardised(features.double().numpy())
    truth, given = target.numpy() > 0, known.numpy().astype(bool)
    weight = np.ones(truth.shape[1]) if pos_weight is None else pos_weight.cpu().double().numpy()
    unit = np.sqrt(x.shape[1])
    axes = principal_axes(x / unit)
    rows = with_ones(x @ axes / unit)

    path = sorted(strengths, reverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(rows))
    fold = drawn % folds if isinstance(folds, int) else folds
    if len(rows) > SAMPLE:
        some = np.sort(rng.permutation(len(rows))[:SAMPLE])
        path = [_held_out(rows[some], truth[some], given[some], weight, fold[some], path, progress)[0]]
    strength, logits = _held_out(rows, truth, given, weight, fold, path, progress)
    lines = fit_lines(rows, truth, given, strength * len(rows), pos_weight=weight, tolerance=EXACT)
    prior = smoothed_prior(truth, given)

    def tensor(values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32))

    return Probe(
        mean=tensor(mean),
        deviation=tensor(deviation),
        weight=tensor(lines[:, :-1] @ axes.T / unit),
        bias=tensor(lines[:, -1]),
        strength=strength,
        scores=tensor(expit(logits)),
        log_odds=tensor(np.log(weight * prior / (1 - prior))),
    )


def _held_out(
    rows: Array,
    target: Bools,
    known: Bools,
    pos_weight: Array,
    fold: NDArray[np.int64],
    path: Sequence[float],
    progress: Progress,
) -> tuple[float, Array]:
    """The strength with the least log-loss, and with it the logits (n, L) of each row by the fit without its fold.

    From the strongest on, until the loss rises; each fit starts from that of the strength before.
    """
    lines: dict[int, Array] = {}
    best: tuple[float, float, Array] | None = None
    for strength in progress(path):
        logits = np.zeros(target.shape)
        for held in np.unique(fold).tolist():
            fit, rest = fold != held, fold == held
            penalty, start = strength * fit.sum(), lines.get(held)
            lines[held] = fit_lines(
                rows[fit], target[fit], known[fit], penalty, pos_weight=pos_weight, start=start, tolerance=ROUGH
            )
            logits[rest] = rows[rest] @ lines[held].T
        cost = np.logaddexp(0, np.where(target, -logits, logits)) * np.where(target, pos_weight, 1)
        loss = float((cost * known).sum())
        if best is None or loss < best[0]:
            best = loss, strength, logits
        elif loss > best[0]:
            break
    assert best is not None, "there is a strength to choose"
    return best[1:]
