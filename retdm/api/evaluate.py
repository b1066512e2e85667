"""Criteria of scores, whatever made them."""

from typing import Any

from numpy.typing import ArrayLike

from retdm import criteria
from retdm.data.given.targets import cells_of
from retdm.errors import UserError


def evaluate(
    scores: ArrayLike, targets: Any, *, decide: str = "half", threshold: ArrayLike = 0.5
) -> dict[str, float | None]:
    """Every criterion of n images over L labels; for those of each label, see :func:`retdm.criteria.evaluate`.

    Args:
        scores: (n, L) probabilities in [0, 1].
        targets: (n, L) of 1, 0 and NaN (or None), which is unknown and counts in no criterion: an array, nested lists
            or a DataFrame.
        decide: the rule that makes label sets of scores, see :func:`retdm.criteria.decide`.
        threshold: of ``decide="validation"``, a number; of ``decide="train_threshold"``, (L,).

    Returns:
        Criterion -> value, in the order of ``retdm.criteria.CRITERIA``; None where it is not defined.

    Raises:
        UserError: scores or targets are none, or their shapes differ; there is no such rule.
    """
    cells = cells_of(targets)
    known = cells == cells
    names = [str(column) for column in range(cells.shape[1])]
    try:
        predicted = criteria.decide(scores, decide, threshold)
        return criteria.evaluate(scores, cells, known, names, predicted)["criteria"]
    except ValueError as error:
        raise UserError(str(error), "scores and targets are (n, L): a row an image, a column a label") from error
