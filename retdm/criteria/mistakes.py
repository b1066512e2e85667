"""The images whose label sets were decided worst. Notation: n images, L labels."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retdm.criteria.arrays import as_bool, probabilities, relevant_and_known


def worst_decisions(
    scores: ArrayLike, target: ArrayLike, known: ArrayLike, predicted: ArrayLike, most: int
) -> NDArray[np.int64]:
    """Find the images whose decisions are most wrong by score.

    An image's error is the sum, over its known cells that are decided wrongly, of the distance between score and
    truth: a label that is missed at .02 weighs .98, one that is added at .6 weighs .6.

    Args:
        scores: (n, L) probabilities in [0, 1].
        target: (n, L) {0, 1}; read in known cells only.
        known: (n, L) bool.
        predicted: (n, L) bool, the decided label sets.
        most: so many images at most.

    Returns:
        int64, places of images with an error, the largest first, of equal ones the first first.

    Raises:
        ValueError: scores outside [0, 1] or NaN, shapes that differ.
    """
    values = probabilities(scores)
    relevant, is_known = relevant_and_known(target, known, values.shape)
    wrong = (as_bool("predicted", predicted, values.shape) != relevant) & is_known
    errors = np.where(wrong, np.abs(values - relevant), 0).sum(axis=1)
    order: NDArray[np.int64] = np.argsort(-errors, kind="stable")
    found: NDArray[np.int64] = order[wrong[order].any(axis=1)][:most]
    return found
