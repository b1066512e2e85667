"""Settings of a fitted method, chosen by cross-validation on its training rows. Notation: n rows or bags, L labels."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from retdm.errors import UserError
from retdm.methods.components.labels import Array, Bools

FOLDS = 5
SUREST = 1e-3  # the nearest to 0 or 1 that :func:`log_loss` takes a score for
Candidates = Mapping[str, Sequence[float]] | Sequence[Mapping[str, Sequence[float]]]
FoldScores = Callable[[Bools, Bools], Array]  # of rows to fit (n,) and of m rows to score (n,): scores (m, L)
Value = TypeVar("Value")


def trials_of(method: type, tune: bool | Candidates, own: Candidates) -> list[dict[str, float]]:
    """The settings to try, one mapping a trial, in their order; empty where nothing is tuned.

    Args:
        method: whose constructor names the settings and their ranges.
        tune: false; true for the method's ``own`` candidates; or a mapping from settings to values, of which all
            combinations are tried, the last setting changing first; or a list of such mappings, tried one after the
            other.
        own: candidates of the method.

    Raises:
        UserError: a setting is no number of the method's, a value is out of its range, or there is none.
    """
    candidates = own if tune is True else tune or {}
    mappings = [candidates] if isinstance(candidates, Mapping) else list(candidates)
    trials = [dict(zip(each, values, strict=True)) for each in mappings for values in product(*each.values()) if each]
    if tune is False:
        return []
    if tune is True and not trials:
        hint = "name settings and their values: method.tune={<setting>: [<value>, <value>]}"
        raise UserError(f"method.tune=true: {method.__name__} has no candidates of its own", hint)
    if not trials or len({frozenset(trial) for trial in trials}) > 1:
        raise UserError(
            f"method.tune={tune} names no candidates, or not the same settings in all of its mappings",
            "a mapping from settings to lists of values, or a list of such mappings: {C: [0.1, 1, 10]}",
        )
    numbers = _numbers_of(method)
    for name, value in (item for trial in trials for item in trial.items()):
        if name not in numbers:
            raise UserError(
                f"method.tune names {name}, which is no number among the settings of {method.__name__}",
                f"choose among: {', '.join(numbers)}",
            )
        kind, *ranges = numbers[name]
        if isinstance(value, bool) or not isinstance(value, kind if kind is int else int | float):
            raise UserError(f"method.tune: {name}={value} is no {'whole ' * (kind is int)}number")
        if wrong := [each for each in ranges if value not in each]:
            raise UserError(f"method.tune: {name}={value} is not {wrong[0].words}")
    return trials


def _numbers_of(method: type) -> dict[str, tuple[Any, ...]]:
    """Settings of a method's constructor that are numbers, with their type and their ranges."""
    found = {}
    for name, kind in get_type_hints(method.__init__, include_extras=True).items():  # type: ignore[misc]
        for part in (kind, *get_args(kind)):
            if get_origin(part) is Annotated:
                found[name] = get_args(part)
    return found


def lowest_loss(values: Sequence[Value], loss: Callable[[Value, Bools, Bools], float], n: int, seed: int) -> Value:
    """The value with the lowest loss over 5 folds of n rows, at a tie the earlier.

    Args:
        values: to choose from.
        loss: of (value, rows to fit (n,), rows to score (n,)).
        n: rows.
        seed: of the folds.
    """
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    losses = [sum(loss(value, fold != held, fold == held) for held in range(FOLDS)) for value in values]
    return values[int(np.argmin(losses))]


# Losses of a fold. scores, target, known: (n, L); only known cells count.


def log_loss(scores: Array, target: NDArray[Any], known: NDArray[Any]) -> float:
    """Sum of log-losses of the cells; no score counts as surer than one in a thousand."""
    sure = scores.clip(SUREST, 1 - SUREST)
    return float((-np.log(np.where(target > 0, sure, 1 - sure)) * known).sum())


def wrong_cells(scores: Array, target: NDArray[Any], known: Bools, thresholds: Array | float = 0.5) -> float:
    """Number of cells that score on the wrong side of their label's threshold; thresholds: (L,), or one for all."""
    return float((((scores >= thresholds) != (target > 0)) & known).sum())


def wrong_pairs(scores: Array, target: NDArray[Any], known: Bools) -> float:
    """Ranking loss summed over rows: the share of pairs of a positive and a negative label of the row in which the
    positive one scores no higher. A row without such pairs adds 0."""
    positive, negative = (target > 0) & known, (target == 0) & known
    wrong = (positive[:, :, None] & negative[:, None] & (scores[:, :, None] <= scores[:, None])).sum((1, 2))
    pairs = positive.sum(1) * negative.sum(1)
    return float((wrong / np.maximum(pairs, 1)).sum())
