"""Heads: from instances (an image's regions, a bag's rows) to the labels' logits. Notation: B bags, N places for
instances, D features, L labels, mask (B, N) of the places that hold an instance, at least one a bag."""

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retdm.errors import UserError
from retdm.methods.components.pooling import OF_NUMBERS, Pooling, attended_score, log_attention, pool

Head = Literal["average", "max", "csra", "ml_decoder"]


def head_of(name: Head, dim: int, labels: int) -> nn.Module:
    """A head with an output a label: linear on one vector (B, D) for ``average`` and ``max``, else on instances."""
    if name == "csra":
        return CSRA(dim, labels)
    if name == "ml_decoder":
        return MLDecoder(dim, labels)
    return nn.Linear(dim, labels)


class InstanceHead(nn.Module):
    """A head on instances.

    Attributes:
        attends: it has ``attention_weights``.
        begins_linear: :meth:`start_at` takes the classifier, not its bias alone.
    """

    attends: ClassVar[bool] = False
    begins_linear = False

    def forward(self, instances: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) -> logits (B, L)"""
        raise NotImplementedError

    def start_at(self, weight: Tensor, bias: Tensor, log_odds: Tensor) -> None:
        """Begin at a linear classifier of the mean instance, as far as this head is one; the default does nothing.

        Args:
            weight: (L, D).
            bias: (L,).
            log_odds: (L,) of each label's prior, the bias of a head that does not take the weights.
        """

    def instance_logits(self, instances: Tensor) -> Tensor:
        """Logits of each instance by itself, as of a bag with this instance alone: (B, N, D) -> (B, N, L)."""
        alone = instances.new_ones(instances.shape[1], 1, dtype=torch.bool)
        return torch.stack([self(bag[:, None], alone) for bag in instances])

    def attention_weights(self, instances: Tensor, mask: Tensor) -> Tensor:
        """The share of each instance in a label's decision, (B, N, L); 1 in sum, 0 in empty places."""
        raise NotImplementedError


class CSRA(InstanceHead):
    """Class-specific residual attention (Zhu & Wu, ICCV 2021): the mean score over places + ``share`` times their
    attended mean. Each label's weights have length 1.

    The paper's classifier has no bias, because its features are never negative; here they may be standardised.

    Args:
        dim: D.
        labels: L.
        share: lambda, the weight of the attended mean.
        temperature: factor of the scores in the softmax over places, at least 0; infinite: the maximum.
    """

    begins_linear = True

    def __init__(self, dim: int, labels: int, share: float = 0.2, temperature: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(labels, dim))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as a linear layer's
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

    def start_at(self, weight: Tensor, bias: Tensor, log_odds: Tensor) -> None:
        """The classifier's directions; their lengths have no place here."""
        self.weight.copy_(weight)
        self.bias.copy_(log_odds / (1 + self.share))

    def instance_logits(self, instances: Tensor) -> Tensor:
        return F.linear(instances, F.normalize(self.weight, dim=1), self.bias)


class MLDecoder(InstanceHead):
    """A transformer decoder layer (ML-Decoder: Ridnik et al., WACV 2023): fixed random queries attend to the instances,
    and each answers for its share of the labels.

    Args:
        dim: D.
        labels: L.
        width: features of a query.
        queries: how many there are at most; L where there are fewer labels.
        heads: attention heads.
    """

    attends = True
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
        self.share = -(-labels // count)  # labels for which a query answers
        self.weight = nn.Parameter(torch.empty(count, width, self.share))
        self.bias = nn.Parameter(torch.zeros(labels))
        nn.init.xavier_normal_(self.weight)

    def forward(self, instances: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) -> logits (B, L)"""
        query, found, _ = self._attended(instances, mask)
        answer = self.norms[1](query + found)
        answer = self.norms[2](answer + self.between(answer))
        logits = torch.einsum("bqd,qds->bqs", answer, self.weight).flatten(1)
        return logits[:, : self.labels] + self.bias

    def start_at(self, weight: Tensor, bias: Tensor, log_odds: Tensor) -> None:
        self.bias.copy_(log_odds)

    def attention_weights(self, instances: Tensor, mask: Tensor) -> Tensor:
        """Those of the query that answers for a label, mean over attention heads; labels of one query share them."""
        attention: Tensor = self._attended(instances, mask, need_weights=True)[2]
        return attention.repeat_interleave(self.share, 1)[:, : self.labels].transpose(1, 2)

    def _attended(self, instances: Tensor, mask: Tensor, *, need_weights: bool = False) -> tuple[Tensor, Tensor, Any]:
        """Queries (B, Q, W), what each finds (B, Q, W), and its attention (B, Q, N) where it is needed, else None."""
        memory = F.relu(self.project(instances))
        query = self.norms[0](self.queries).expand(len(memory), -1, -1)
        found = self.attention(query, memory, memory, key_padding_mask=~mask, need_weights=need_weights)
        return query, *found


class Pooled(InstanceHead):
    """A linear classifier of instances, and a pooling of its scores or of what it reads.

    Args:
        dim: D.
        labels: L.
        pooling, sharpness, top: see :func:`retdm.methods.components.pooling.pool`.
        space: pools the ``scores`` (logits) of instances, or their ``embeddings``, feature by feature.

    Raises:
        UserError: ``pooling`` works on probabilities, and embeddings are none.
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
                f"method.pooling={pooling} works on probabilities, and embeddings are none",
                f"with method.space=embeddings it is one of: {', '.join(OF_NUMBERS)}",
            )
        self.linear = nn.Linear(dim, labels)
        self.pooling, self.space, self.sharpness, self.top = pooling, space, sharpness, top
        self.begins_linear = pooling == "mean"

    def forward(self, instances: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) -> logits (B, L)"""
        if self.space == "scores":
            return self._pooled(self.linear(instances), mask)
        logits: Tensor = self.linear(self._pooled(instances, mask))
        return logits

    def start_at(self, weight: Tensor, bias: Tensor, log_odds: Tensor) -> None:
        """The classifier where instances are averaged; other poolings would give another score of it."""
        if self.begins_linear:
            self.linear.weight.copy_(weight)
        self.linear.bias.copy_(bias if self.begins_linear else log_odds)

    def _pooled(self, values: Tensor, mask: Tensor) -> Tensor:
        return pool(values, mask, self.pooling, sharpness=self.sharpness, top=self.top)

    def instance_logits(self, instances: Tensor) -> Tensor:
        logits: Tensor = self.linear(instances)
        return logits


class DetectorClassifier(InstanceHead):
    """Two linear maps of instances: a classifier, and a detector that weighs its probabilities. A label's probability
    is their mean, weighted by the detector's softmax over instances (Bilen & Vedaldi, CVPR 2016, without their softmax
    over classes; Kong et al., TASLP 2020).

    Args:
        dim: D.
        labels: L.
    """

    attends = True

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__()
        self.detector, self.linear = nn.Linear(dim, labels), nn.Linear(dim, labels)

    def forward(self, instances: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) -> logits (B, L)"""
        return attended_score(self.linear(instances), self.detector(instances), mask)

    def start_at(self, weight: Tensor, bias: Tensor, log_odds: Tensor) -> None:
        self.linear.bias.copy_(log_odds)

    def attention_weights(self, instances: Tensor, mask: Tensor) -> Tensor:
        return log_attention(self.detector(instances), mask).exp()

    def instance_logits(self, instances: Tensor) -> Tensor:
        logits: Tensor = self.linear(instances)
        return logits


class Relevance(nn.Module):
    """w (tanh(V h) * sigmoid(U h)) of each instance h and label.

    Args:
        dim: D.
        labels: L.
        width: rows of V and of U.
        gated: with the factor sigmoid(U h).
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


class GatedAttention(InstanceHead):
    """Attention-based deep multiple-instance learning (Ilse, Tomczak & Welling, ICML 2018) with one attention a label:
    a is the softmax over instances of their relevance, and a label's logit is linear in the sum of a h.

    Args:
        dim, labels, width, gated: see :class:`Relevance`.
    """

    attends = True

    def __init__(self, dim: int, labels: int, width: int = 128, *, gated: bool = True) -> None:
        super().__init__()
        self.relevance, self.linear = Relevance(dim, labels, width, gated=gated), nn.Linear(dim, labels)

    def forward(self, instances: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) -> logits (B, L)"""
        logits = self.instance_logits(instances).where(mask[..., None], 0)  # linear of the mean is the mean of linear
        return (self.attention_weights(instances, mask) * logits).sum(1)

    def start_at(self, weight: Tensor, bias: Tensor, log_odds: Tensor) -> None:
        """The classifier, which is exact while every instance has the same attention."""
        self.linear.weight.copy_(weight)
        self.linear.bias.copy_(bias)

    def attention_weights(self, instances: Tensor, mask: Tensor) -> Tensor:
        return log_attention(self.relevance(instances), mask).exp()

    def instance_logits(self, instances: Tensor) -> Tensor:
        logits: Tensor = self.linear(instances)
        return logits
