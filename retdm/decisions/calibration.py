"""Scores made into probabilities that say how often a label is there. Notation: n images, L labels.

- ``temperature``: the log-odds of all labels divided by one number.
- ``platt``: log-odds · slope + intercept, a line a label (Platt, 1999).
- ``isotonic``: of each label a rising step line of its scores (Zadrozny & Elkan, KDD 2002).

Each is fitted by scikit-learn to scored images whose labels are known. What few images say of a label is mostly chance,
so a label's own line leans on the *pooled* one, of the cells of all labels together: with p positives, or negatives
where those are fewer, it weighs p / (p + 10). An unknown cell counts nowhere.

What is fitted is plain numbers, so that a file can hold them and NumPy alone apply them (`calibrated`).
"""

from typing import Any, Literal, TypedDict, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retdm.criteria.arrays import Bools, Floats, probabilities, relevant_and_known
from retdm.decisions.thresholds import FEW_POSITIVES, log_odds
from retdm.errors import UserError
from retdm.registry import nearest

Kind = Literal["temperature", "platt", "isotonic"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NAMED = 5  # labels that are named in a sentence
NONE = "none"  # what a setting says for no calibration
Knots = list[list[float]]  # two lists: scores, rising, and the probability at each; straight lines between


class Calibration(TypedDict, total=False):
    """What is fitted.

    Attributes:
        kind: of it.
        few: the labels, by number, that lean on the pooled fit by half or more, for want of positives or negatives.
        slope, intercept: of the log-odds: a number each (``temperature``), or one a label (``platt``).
        pooled: of ``isotonic``, the step line of all labels together.
        own: the same of each label.
        share: (L,) by which each label's own counts.
    """

    kind: Kind
    few: list[int]
    slope: float | list[float]
    intercept: float | list[float]
    pooled: Knots
    own: list[Knots]
    share: list[float]


def check_kind(name: str | None) -> Kind | None:
    """A kind by its name; None of ``none`` and of None.

    Raises:
        UserError: there is none.
    """
    if name is None or name == NONE:
        return None
    if name not in KINDS:
        raise UserError(f"there is no calibration {name!r}", nearest(str(name), [NONE, *KINDS]))
    return name


def fit_calibration(kind: Kind, scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> Calibration:
    """Fit a calibration to scored images.

    Labels 0 and 1 count as Platt's targets, 1 / (N⁻ + 2) and (N⁺ + 1) / (N⁺ + 2): so images that scores part without
    an error do not make a label certain. A label whose own line would fall takes the pooled one, and where that falls
    too, or nothing or everything is positive, scores stay as they are; such labels are among the ``few``.

    Args:
        kind: of calibration.
        scores: (n, L) in [0, 1].
        target: (n, L) {0, 1}.
        known: (n, L) bool.

    Raises:
        ValueError: scores outside [0, 1] or NaN, shapes that differ.
    """
    values = probabilities(scores)
    relevant, is_known = relevant_and_known(target, known, values.shape)
    positives, count = relevant.sum(axis=0), is_known.sum(axis=0)
    rarer = np.minimum(positives, count - positives)
    share = rarer / (rarer + FEW_POSITIVES)
    if kind == "isotonic":
        return _isotonic(values, relevant, is_known, share)
    logits = log_odds(values)
    pooled = _line(logits[is_known], relevant[is_known], intercept=kind == "platt")
    if pooled is None:
        pooled, share = (1.0, 0.0), np.zeros_like(share)
    if kind == "temperature":
        few = [] if share.any() else list(range(len(share)))
        return {"kind": kind, "few": few, "slope": pooled[0], "intercept": pooled[1]}
    lines = np.tile(pooled, (len(share), 1))
    for j in np.flatnonzero(share):
        given = is_known[:, j]
        own = _line(logits[given, j], relevant[given, j], intercept=True)
        share[j] = 0 if own is None else share[j]
        lines[j] = pooled if own is None else share[j] * np.array(own) + (1 - share[j]) * np.array(pooled)
    slope, intercept = lines.T.tolist()
    return {"kind": kind, "few": _few(share), "slope": slope, "intercept": intercept}


def calibrated(how: Calibration | None, scores: ArrayLike) -> NDArray[Any]:
    """Probabilities (n, L) of scores (n, L) in [0, 1], of the type of these; None changes nothing."""
    given = np.asarray(scores)
    if how is None:
        return given
    if how["kind"] == "isotonic":
        share, pooled = np.array(how["share"]), np.interp(given, how["pooled"][0], how["pooled"][1])
        own = [np.interp(column, knots[0], knots[1]) for column, knots in zip(given.T, how["own"], strict=True)]
        return np.asarray(share * np.stack(own, axis=1) + (1 - share) * pooled, dtype=given.dtype)
    lines = log_odds(given.astype(np.float64)) * np.array(how["slope"]) + np.array(how["intercept"])
    return np.asarray(1 / (1 + np.exp(-lines)), dtype=given.dtype)


def check_calibration(how: Any, labels: int) -> Calibration | None:
    """A calibration of L labels as a file says it; None of None.

    Raises:
        UserError: it is none.
    """
    if how is None:
        return None
    try:
        kind = check_kind(how["kind"])
        trial = calibrated(cast(Calibration, how), np.linspace(0, 1, 3)[:, None].repeat(labels, axis=1))
        sizes = {np.size(how[key]) for key in ("slope", "intercept")} if kind == "platt" else set()
        sound = kind is not None and probabilities(trial).shape == (3, labels) and sizes <= {labels}
        sound &= all(isinstance(j, int) and 0 <= j < labels for j in how["few"])
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise UserError("the calibration is not what a run wrote", f"of {labels} labels")
    return cast(Calibration, how)


def in_words(how: Calibration, labels: list[str]) -> str:
    """How scores are calibrated, and which labels lean on all of them together."""
    said = str(how["kind"])
    if how["kind"] == "temperature" and isinstance(how["slope"], float):
        said = f"temperature {1 / how['slope']:.3g}"
    if not how["few"]:
        return said
    more = len(how["few"]) - NAMED
    names = ", ".join(labels[j] for j in how["few"][:NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{said}; with few positives or negatives, and so mostly as all labels together: {names}"


def _few(share: Floats) -> list[int]:
    """Labels whose own fit counts less than half."""
    return np.flatnonzero(share < 0.5).tolist()


def _line(logits: Floats, positive: Bools, *, intercept: bool) -> tuple[float, float] | None:
    """Slope and intercept of the logistic regression of Platt's targets; None where it falls, or all are alike."""
    low, high = _targets(positive)
    if not 0 < positive.sum() < positive.size:
        return None
    from sklearn.linear_model import LogisticRegression  # takes a second

    # A target of t is an image of weight t that has the label and one of weight 1 − t that has not.
    weight = np.where(positive, high, low)
    model = LogisticRegression(C=np.inf, fit_intercept=intercept, tol=1e-8, max_iter=1000)
    labels = np.repeat([1, 0], positive.size)
    model.fit(np.tile(logits, 2)[:, None], labels, sample_weight=np.concatenate([weight, 1 - weight]))
    slope = float(model.coef_[0, 0])
    return (slope, float(model.intercept_[0]) if intercept else 0.0) if slope > 0 else None


def _targets(positive: Bools) -> tuple[float, float]:
    """Platt's targets of negatives and positives."""
    count = int(positive.sum())
    return 1 / (positive.size - count + 2), (count + 1) / (count + 2)


def _isotonic(values: Floats, relevant: Bools, known: Bools, share: Floats) -> Calibration:
    from sklearn.isotonic import IsotonicRegression  # takes a second

    def steps(scores: Floats, positive: Bools) -> Knots:
        if not 0 < positive.sum() < positive.size:
            return [[0.0, 1.0], [0.0, 1.0]]
        low, high = _targets(positive)
        model = IsotonicRegression(y_min=low, y_max=high, out_of_bounds="clip").fit(scores, positive)
        return [model.X_thresholds_.tolist(), model.y_thresholds_.tolist()]

    pooled = steps(values[known], relevant[known])
    own = [
        steps(column[given], positive[given])
        for column, positive, given in zip(values.T, relevant.T, known.T, strict=True)
    ]
    return {"kind": "isotonic", "few": _few(share), "pooled": pooled, "own": own, "share": share.tolist()}
