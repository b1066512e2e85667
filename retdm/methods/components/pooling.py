"""Pooling: from the logits of instances to those of their bag. Notation: B bags, N places for instances, L labels, mask
(B, N) of the places that hold an instance, n of them in a bag; s a logit, p = sigmoid(s).

Probabilities are pooled by their logarithms, so that no logit, however large, becomes infinite or loses its gradient:
the logit of P is log P - log(1 - P), and both have exact forms.
"""

from typing import Literal, assert_never

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

Pooling = Literal["max", "mean", "lse", "topk", "mean_score", "noisy_or", "linear_softmax"]
OF_NUMBERS = ("max", "mean", "lse", "topk")  # pool any numbers; the others work on probabilities alone
SMALL = 1e-3  # below it two terms of a series are exact
LOW = -20.0


def pool(logits: Tensor, mask: Tensor, pooling: Pooling, *, sharpness: float = 5.0, top: float = 0.1) -> Tensor:
    """Logits of bags (B, L), from those of their instances (B, N, L). Empty places are never read.

    Args:
        logits: (B, N, L), of instances.
        mask: bool (B, N), at least one True a bag.
        pooling: a bag's logit is, or is that of the probability P:

            - ``max``: the greatest s. Only one instance gets a gradient.
            - ``mean``: the mean s.
            - ``lse``: log(mean exp(r s)) / r, between the two.
            - ``topk``: the mean of the greatest s: a share ``top`` of the n, at least one.
            - ``mean_score``: P = the mean p.
            - ``noisy_or``: P = 1 - product of (1 - p). Many instances of low p make a high P.
            - ``linear_softmax``: P = sum of p^2 / sum of p, the mean p weighted by itself.
        sharpness: r of ``lse``, above 0: near 0 it is the mean, large it is the maximum.
        top: the share that ``topk`` takes, above 0 and at most 1.
    """
    here = mask[..., None]
    logits = logits.where(here, 0)
    count = here.sum(1).to(logits.dtype)

    def whole(values: Tensor) -> Tensor:
        """log of the sum over instances of exp(values)"""
        return values.where(here, -torch.inf).logsumexp(1)

    if pooling == "max":
        return logits.where(here, -torch.inf).amax(1)
    if pooling == "mean":
        return logits.sum(1) / count
    if pooling == "lse":
        return (whole(sharpness * logits) - count.log()) / sharpness
    if pooling == "topk":
        ranked = logits.where(here, -torch.inf).sort(1, descending=True).values
        kept = (top * count).round().clamp(min=1)
        rank = torch.arange(logits.shape[1], device=logits.device)[:, None]
        return ranked.where(rank < kept[:, None], 0).sum(1) / kept
    if pooling == "mean_score":
        return whole(logsigmoid(logits)) - whole(logsigmoid(-logits))
    if pooling == "noisy_or":
        return _noisy_or(logits, here)
    if pooling == "linear_softmax":
        return whole(2 * logsigmoid(logits)) - whole(logsigmoid(logits) + logsigmoid(-logits))
    assert_never(pooling)


def attended_score(logits: Tensor, relevance: Tensor, mask: Tensor) -> Tensor:
    """Logit (B, L) of P = sum of a p, where a is the softmax of ``relevance`` (B, N, L) over a bag's instances.

    As the a sum to 1, 1 - P = sum of a (1 - p).
    """
    weight = log_attention(relevance, mask)
    logits = logits.where(mask[..., None], 0)
    return (weight + logsigmoid(logits)).logsumexp(1) - (weight + logsigmoid(-logits)).logsumexp(1)


def log_attention(relevance: Tensor, mask: Tensor) -> Tensor:
    """Logarithm of the softmax over a bag's instances, (B, N, L); -inf in empty places."""
    return relevance.where(mask[..., None], -torch.inf).log_softmax(1)


def _noisy_or(logits: Tensor, here: Tensor) -> Tensor:
    """log(exp(S) - 1), S = the sum of log(1 + exp(s)) = -log(1 - P).

    Where all s are low, S underflows to 0, but its logarithm does not.
    """
    low = logits.clamp(max=LOW)  # log log(1 + exp(s)) = s - exp(s) / 2 there
    term = torch.logaddexp(logits, torch.zeros_like(logits))
    log_term = torch.where(logits < LOW, low - low.exp() / 2, torch.where(logits < LOW, 1, term).log())
    log_total = log_term.where(here, -torch.inf).logsumexp(1)
    total = term.where(here, 0).sum(1)
    small, large = total.clamp(max=SMALL), total.clamp(min=SMALL)
    return torch.where(
        total < SMALL, log_total + small / 2 + small.square() / 24, large + torch.log(-torch.expm1(-large))
    )
