"""Criteria of scores, whatever made them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retdm import criteria
from retdm.data.given.targets import cells_of
from retdm.decisions.rules import Rule, rule_of
from retdm.errors import UserError


def evaluate(
    scores: ArrayLike, targets: Any, *, decide: str = "half", threshold: ArrayLike | None = None
) -> dict[str, float | None]:
    """Every criterion of n images over L labels; for those of each label, see :func:`retdm.criteria.evaluate`.

    Args:
        scores: (n, L) probabilities in [0, 1].
        targets: (n, L) of 1, 0 and NaN (or None), which is unknown and counts in no criterion: an array, nested lists
            or a DataFrame.
        decide: the rule that makes label sets of scores, see :func:`retdm.decisions.rules`.
        threshold: of ``decide="validation"``, a number in [0, 1]; of rules with a threshold a label, (L,) of them, such
            as ``retdm.decisions.rule_of("per_label_f1").choose(scores, targets, known)`` gives of other images. Of no
            other rule.

    Returns:
        Criterion -> value, in the order of ``retdm.criteria.CRITERIA``; None where it is not defined.

    Raises:
        UserError: scores, targets or threshold are none, their shapes differ, or two DataFrames have the same columns
            in another order; there is no such rule.
    """
    cells = cells_of(targets)
    known = cells == cells
    names = [str(column) for column in range(cells.shape[1])]
    _check_order(scores, targets)
    try:
        values = _numbers("scores", scores)
        if values.shape != cells.shape:
            raise ValueError(f"scores has shape {values.shape}, targets {cells.shape}")
        rule = rule_of(decide)
        predicted = rule.apply(values, _threshold(rule, threshold, len(names)))
        return criteria.evaluate(values, cells, known, names, predicted)["criteria"]
    except ValueError as error:
        raise UserError(str(error), "scores and targets are (n, L): a row an image, a column a label") from error


def _check_order(scores: Any, targets: Any) -> None:
    """Raise ``UserError`` where columns of two tables that belong together have different places."""
    first, second = (list(getattr(table, "columns", ())) for table in (scores, targets))
    if first != second and set(first) == set(second):
        raise UserError("scores and targets have the same columns in another order", "scores[targets.columns]")


def _threshold(rule: Rule, threshold: Any, labels: int) -> NDArray[np.float64] | None:
    if rule.chosen_on is None:
        if threshold is not None:
            raise UserError(
                f"threshold={threshold} is not read by decide={rule.name!r}",
                'decide="validation", or leave threshold out',
            )
        return None
    if threshold is None:
        what = "one for each label" if rule.per_label else "threshold=0.4"
        raise UserError(f"decide={rule.name!r} needs a threshold", f"{what}, chosen on other images than these")
    return rule.check(_numbers("threshold", threshold), labels)


def _numbers(name: str, given: Any) -> NDArray[np.float64]:
    """As float64; ``ValueError`` for what is none."""
    if hasattr(given, "detach"):  # a tensor, whose type or device NumPy may not know
        given = given.detach().cpu().double().numpy()
    try:
        array = np.asarray(given)
        if array.dtype.kind not in "biufO":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} holds something else than numbers, or rows that are not equally long") from None
