"""Scores of labels from the nearest label sets of the training split, and their share in a mixture.

Notation: B images, S label sets, L labels, D embedding width.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SHARES = np.arange(10, -1, -1) / 10
TINY = 1e-7  # a score nearer to 0 or 1 counts in the log-loss as if it were so far away


def label_set_scores(
    image: Tensor, set_embedding: Tensor, sets: Tensor, counts: Tensor, *, k: int, scale: float | Tensor
) -> Tensor:
    """Share of each label among the k label sets that are nearest to an image.

    Of n training rows n_s have the set s, which is d_s away from the image, and n_l have the label l. Over the k
    nearest sets the weights are the softmax that RETDM's metric loss trains, times the sets' frequency:

        w_s = n_s exp(−d_s ÷ scale) ÷ sum over the k nearest,    share_l = sum of w_s over those with the label l,
        score_l = (n share_l + (n_l + ½) ÷ (n + 1)) ÷ (n + 1).

    The last line adds one row in which l is as frequent as in training: no score is 0 or 1, and where no nearest set
    has a label, its frequency decides. Without any label set all scores are ½.

    Args:
        image: (B, D) embeddings.
        set_embedding: (S, D).
        sets: (S, L), distinct, of 0, 1, and where a label is unknown how probable it is; S may be 0.
        counts: int64 (S,), how many training rows have each set, at least 1.
        k: sets that are counted, at least 1; where there are fewer, all.
        scale: divides the distances, above 0: ``unit * temperature`` of the loss.

    Returns:
        (B, L) in (0, 1).
    """
    # The nearest by inner products of centred points; their distances then by differences, which do not cancel.
    centre = set_embedding.mean(0)
    squared = (set_embedding - centre).square().sum(1) - 2 * (image - centre) @ (set_embedding - centre).T
    near = squared.topk(min(k, len(sets)), dim=1, largest=False).indices  # (B, K)
    distance = torch.linalg.vector_norm(image[:, None] - F.embedding(near, set_embedding), dim=-1)
    rows = counts.to(image.dtype)
    weight = (F.embedding(near, rows[:, None])[..., 0].log() - distance / scale).softmax(1)
    share = (weight[..., None] * F.embedding(near, sets.to(image.dtype))).sum(1).clamp(max=1)
    n = rows.sum()
    frequency = (rows @ sets.to(image.dtype) + 0.5) / (n + 1)
    scores: Tensor = (n * share + frequency) / (n + 1)
    return scores


def best_mixture(first: np.ndarray, second: np.ndarray, target: np.ndarray, known: np.ndarray) -> float:
    """The share w, a multiple of 0.1, for which w * first + (1 - w) * second has the lowest log-loss over known cells.

    Of equal ones the greatest; 1 where no cell is known.

    Args:
        first, second: (n, L) probabilities of n rows.
        target: (n, L) of 0 and 1.
        known: bool (n, L).
    """
    one, other = first[known].astype(np.float64), second[known].astype(np.float64)
    positive = target[known] > 0.5
    loss = []
    for share in SHARES:
        score = share * one + (1 - share) * other
        loss.append(-np.log(np.where(positive, score, 1 - score).clip(TINY)).sum())
    return float(SHARES[np.argmin(loss)])
