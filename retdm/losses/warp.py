"""Weighted approximate ranking (WARP: Weston et al., IJCAI 2011; of images' labels: Gong et al., ICLR 2014)."""

import torch
from torch import Tensor

from retdm.losses.cells import read_cells
from retdm.losses.distributed import mean_over_batch


def warp_loss(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    index: Tensor | None = None,
    seed: int = 0,
    exact: bool = False,
) -> Tensor:
    """Mean over images of the sum over an image's labels p of Φ(rank of p) · max(0, 1 − logit_p + logit_q).

    For every label p the image's negatives are tried in random order, none twice, until one q violates the margin,
    1 − logit_p + logit_q > 0. After s trials the rank is estimated as ⌊(labels known − 1) ÷ s⌋; Φ(r) = 1 + ½ + … + 1/r.
    A label that no negative violates adds 0, and so does an image without positives or negatives; both count in the
    mean. Neither Φ nor the choice of q is differentiated.

    The order is a function of seed, index, p and q alone, so it depends neither on the device nor on how a batch is
    split over processes: each (p, q) has a key, the SplitMix64 hash of these four, and keys are tried in ascending
    order. Time and memory are O(B·L²).

    Args:
        logits: (B, L).
        target: (B, L) in {0, 1}, any type; what stands in an unknown cell, NaN included, is never read.
        known: (B, L) bool, None where every cell is known; an unknown label is neither positive nor negative.
        index: (B,) int64, the number of each image in its data set.
        seed: of the draw, in [0, 2⁶³); give another one at each step.
        exact: draw nothing: the rank is the number of violators, and the violation their mean. Needs no index.

    Returns:
        () float32 or wider. Of many processes, this one's share: see :func:`retdm.losses.distributed.mean_over_batch`.

    Raises:
        ValueError: unequal shapes, no index where it is needed, a seed out of its range.
    """
    logits, positive, negative = read_cells(logits, target, known)
    violation = 1 - logits[:, :, None] + logits[:, None, :]  # (B, p, q)
    violates = (violation > 0) & positive[:, :, None] & negative[:, None, :]
    if exact:
        rank = violates.sum(2)
        loss = violation.where(violates, 0).sum(2) / rank.clamp(min=1)
    else:
        if index is None or index.shape != (len(logits),) or index.is_floating_point():
            found = None if index is None else f"{index.dtype} {tuple(index.shape)}"
            raise ValueError(f"index must be int64 ({len(logits)},) unless exact, got {found}")
        if not 0 <= seed < 2**63:
            raise ValueError(f"seed must be in [0, 2**63), got {seed}")
        key = _keys(index, seed, logits.shape[1])
        first, rival = key.masked_fill(~violates, torch.iinfo(torch.int64).max).min(2)
        trials = 1 + ((key < first[:, :, None]) & negative[:, None, :]).sum(2)
        rank = (((positive | negative).sum(1)[:, None] - 1) // trials).where(violates.any(2), 0)
        loss = 1 - logits + logits.gather(1, rival)
    return mean_over_batch((_harmonic(logits)[rank] * loss).sum(1))


def _harmonic(logits: Tensor) -> Tensor:
    """Φ(0), Φ(1), …, Φ(L)."""
    one_over = 1 / torch.arange(1, logits.shape[1] + 1, dtype=logits.dtype, device=logits.device)
    return torch.nn.functional.pad(one_over.cumsum(0), (1, 0))


_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # int64 arithmetic wraps around, so these are the unsigned constants


def _keys(index: Tensor, seed: int, labels: int) -> Tensor:
    """(B,) -> (B, labels, labels) of 63 random bits: for each image its own stream of SplitMix64."""
    stream = _mix(index.long() * _GOLDEN + seed)
    place = torch.arange(1, labels * labels + 1, device=index.device).view(labels, labels)
    return _shift(_mix(stream[:, None, None] + place * _GOLDEN), 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    x = (x ^ _shift(x, 27)) * (0x94D049BB133111EB - 2**64)
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """To the right, filled with zeros where >> would repeat the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
