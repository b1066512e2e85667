"""Heads: from instances (an image's regions, a bag's rows) to the labels' logits. Notation: B bags, N places for
instances, D features, L labels, mask (B, N) of the places that hold one, at least one a bag.

What a head says of an instance by itself, where it can, are its ``instance_logits``. They are no truth about the
instance: nothing but the bags' labels taught them.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retdm.errors import UserError
from retdm.methods.components.pooling import OF_NUMBERS, Pooling, attended_score, log_attention, pool

Head = Literal["average", "max", "csra", "ml_decoder"]


def head_of(name: Head, dim: int, labels: int) -> nn.Module:
    """A classifier of ``labels`` outputs: of one vector (B, D) for ``average`` and ``max``, else of instances."""
    if name == "csra":
        return CSRA(dim, labels)
    if name == "ml_decoder":
        return MLDecoder(dim, labels)
    return nn.Linear(dim, labels)


class CSRA(nn.Module):
    """Class-specific residual attention (Zhu & Wu, ICCV 2021): mean over places + ``share`` * attended mean, of scores
    by weights of length 1.

    The paper's classifier has no bias, for its features are never negative; ours may be standardised.

    Args:
        dim: D.
        labels: L.
        share: lambda, of the attended score.
        temperature: of the softmax over places, from 0 up; infinite, it is the maximum.
    """

    def __init__(self, dim: int, labels: int, share: float = 0.2, temperature: float = 1.0) -> None:
        super().__init__()
        first = nn.Linear(dim, labels)
        self.weight = nn.Parameter(first.weight.detach().clone())
        self.bias = nn.Parameter(torch.zeros(labels))
        self.share, self.temperature = share, temperature

    def forward(self, instances: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) -> logits (B, L)"""
        scores = self.instance_logits(instances)
        if math.isinf(self.temperature):
            attended = pool(scores, mask, "max")
        else:
            attention = log_attention(self.temperature * scores, mask).exp()
            attended = (attention * scores.where(mask[..., None], 0)).sum(1)
        return pool(scores, mask, "mean") + self.share * attended

    def instance_logits(self, instances: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, L)"""
        return F.linear(instances, F.normalize(self.weight, dim=1), self.bias)


class MLDecoder(nn.Module):
    """A decoder layer whose queries are the labels (Ridnik et al., WACV 2023): fixed random queries attend to the
    instances, and each answers for its share of the labels.

    Args:
        dim: D.
        labels: L.
        width: of the decoder.
        queries: at most; L where there are fewer labels.
    """

    queries: Tensor

    def __init__(self, dim: int, labels: int, width: int = 256, queries: int = 100, heads: int = 8) -> None:
        super().__init__()
        count = min(queries, labels)
        self.labels = labels
        self.project = nn.Linear(dim, width)
        self.register_buffer("queries", torch.randn(count, width))
        self.attention = nn.MultiheadAttention(width, heads, dropout=0.1, batch_first=True)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])
        self.between = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(4 * width, width)
        )
        share = -(-labels // count)  # labels a query answers for
        self.weight = nn.Parameter(torch.empty(count, width, share))
        self.bias = nn.Parameter(torch.zeros(labels))
        nn.init.xavier_normal_(self.weight)

    def forward(self, instances: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) -> logits (B, L)"""
        memory = F.relu(self.project(instances))
        query = self.norms[0](self.queries).expand(len(memory), -1, -1)
        found, _ = self.attention(query, memory, memory, key_padding_mask=~mask, need_weights=False)
        answer = self.norms[1](query + found)
        answer = self.norms[2](answer + self.between(answer))
        logits = torch.einsum("bqd,qds->bqs", answer, self.weight).flatten(1)
        return logits[:, : self.labels] + self.bias


class Pooled(nn.Module):
    """A linear classifier and a pooling.

    Args:
        dim: D.
        labels: L.
        pooling, sharpness, top: see :func:`retdm.methods.components.pooling.pool`.
        space: what is pooled: ``scores`` (logits) of instances, or their ``embeddings``, feature by feature.

    Raises:
        UserError: embeddings cannot be pooled so.
    """

    def __init__(
        self,
        dim: int,
        labels: int,
        pooling: Pooling = "max",
        space: Literal["scores", "embeddings"] = "scores",
        *,
        sharpness: float = 5.0,
        top: float = 0.1,
    ) -> None:
        super().__init__()
        if space == "embeddings" and pooling not in OF_NUMBERS:
            raise UserError(
                f"method.pooling={pooling} is of probabilities, which embeddings are not",
                f"with method.space=embeddings it is one of: {', '.join(OF_NUMBERS)}",
            )
        self.linear = nn.Linear(dim, labels)
        self.pooling, self.space, self.sharpness, self.top = pooling, space, sharpness, top

    def forward(self, instances: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) -> logits (B, L)"""
        if self.space == "scores":
            return self._pooled(self.linear(instances), mask)
        logits: Tensor = self.linear(self._pooled(instances, mask))
        return logits

    def _pooled(self, values: Tensor, mask: Tensor) -> Tensor:
        return pool(values, mask, self.pooling, sharpness=self.sharpness, top=self.top)

    def instance_logits(self, instances: Tensor) -> Tensor:
        """What a bag of one instance alone would get, (B, N, D) -> (B, N, L)"""
        logits: Tensor = self.linear(instances)
        return logits


class DetectorClassifier(nn.Module):
    """Two linear maps: a detector, where to look for a label, and a classifier, whether it is there. P of a label is
    the mean p of the classifier, weighted by the detector's softmax over instances (Bilen & Vedaldi, CVPR 2016,
    without their softmax over classes; Kong et al., TASLP 2020).

    Args:
        dim: D.
        labels: L.
    """

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__()
        self.detector, self.linear = nn.Linear(dim, labels), nn.Linear(dim, labels)

    def forward(self, instances: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) -> logits (B, L)"""
        return attended_score(self.linear(instances), self.detector(instances), mask)

    def attention(self, instances: Tensor, mask: Tensor) -> Tensor:
        """Each instance's share in a label's P, (B, N, L); 1 in sum, 0 in empty places."""
        return log_attention(self.detector(instances), mask).exp()

    def instance_logits(self, instances: Tensor) -> Tensor:
        """The classifier's, (B, N, D) -> (B, N, L)"""
        logits: Tensor = self.linear(instances)
        return logits


class Relevance(nn.Module):
    """w (tanh(V h) * sigmoid(U h)) of each instance h and label.

    Args:
        dim: D.
        labels: L.
        width: of V h.
        gated: False leaves the sigmoid out.
    """

    def __init__(self, dim: int, labels: int, width: int = 128, *, gated: bool = True) -> None:
        super().__init__()
        self.value = nn.Linear(dim, width)
        self.gate = nn.Linear(dim, width) if gated else None
        self.weight = nn.Linear(width, labels)

    def forward(self, instances: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, L)"""
        hidden = self.value(instances).tanh()
        if self.gate is not None:
            hidden = hidden * self.gate(instances).sigmoid()
        found: Tensor = self.weight(hidden)
        return found


class GatedAttention(nn.Module):
    """Attention-based deep multiple-instance learning (Ilse, Tomczak & Welling, ICML 2018), one attention a label:
    a = softmax over instances of their relevance, a label's logit is linear in the sum of a h.

    Args:
        dim, labels, width, gated: see :class:`Relevance`.
    """

    def __init__(self, dim: int, labels: int, width: int = 128, *, gated: bool = True) -> None:
        super().__init__()
        self.relevance, self.linear = Relevance(dim, labels, width, gated=gated), nn.Linear(dim, labels)

    def forward(self, instances: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) -> logits (B, L)"""
        logits = self.instance_logits(instances).where(mask[..., None], 0)  # linear of the mean is the mean of linear
        return (self.attention(instances, mask) * logits).sum(1)

    def attention(self, instances: Tensor, mask: Tensor) -> Tensor:
        """How much each instance counts for a label, (B, N, L); 1 in sum, 0 in empty places. No probability of it."""
        return log_attention(self.relevance(instances), mask).exp()

    def instance_logits(self, instances: Tensor) -> Tensor:
        """What a bag of one instance alone would get, (B, N, D) -> (B, N, L)"""
        logits: Tensor = self.linear(instances)
        return logits


def check_pooled(head: str) -> None:
    """A method without a classifier has one vector an image.

    Raises:
        UserError: the head is neither ``average`` nor ``max``.
    """
    if head not in ("average", "max"):
        raise UserError(
            f"method.head={head} is a classifier, which this method has not",
            "method.head=average or max, which pool an image's places",
        )
