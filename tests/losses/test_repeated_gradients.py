"""Sums of several threads: the same loss gives the same gradient, bit by bit, each time it is computed."""

from collections.abc import Callable

import pytest
import torch
from gradients import gradient
from torch import Tensor

from retdm.losses import (
    asymmetric_loss,
    binary_cross_entropy,
    canonical_correlation_loss,
    center_loss,
    label_ranking_loss,
    sequence_cross_entropy,
    softmax_cross_entropy,
    squared_error,
    two_way_metric,
    warp_loss,
)

ROWS, LABELS, WIDTH = 256, 20, 512
generator = torch.Generator().manual_seed(0)
SETS = (torch.rand(6, LABELS, generator=generator) < 0.3).float()  # few, so that many rows name one rival
TARGET = SETS[torch.randint(0, 6, (ROWS,), generator=generator)]
LABEL = torch.tanh(TARGET @ torch.randn(LABELS, WIDTH, generator=generator))
EMBEDDING = torch.randn(ROWS, WIDTH, generator=generator)
LOGITS = torch.randn(ROWS, LABELS, generator=generator)
INDEX = torch.arange(ROWS)

LOSSES: dict[str, tuple[Tensor, Callable[[Tensor], Tensor]]] = {
    "two_way": (EMBEDDING, lambda x: two_way_metric(x, LABEL, TARGET)),
    "two_way, of label sets": (LABEL, lambda x: two_way_metric(EMBEDDING, x, TARGET)),
    "two_way, train pool": (
        SETS @ torch.randn(LABELS, WIDTH, generator=generator),
        lambda x: two_way_metric(EMBEDDING, LABEL, TARGET, sets=SETS, set_embedding=x),
    ),
    "center": (EMBEDDING, lambda x: center_loss(x, TARGET, None, LABEL[:LABELS])),
    "canonical_correlation": (EMBEDDING, lambda x: canonical_correlation_loss(x, LABEL)),
    "binary_cross_entropy": (LOGITS, lambda x: binary_cross_entropy(x, TARGET)),
    "asymmetric": (LOGITS, lambda x: asymmetric_loss(x, TARGET)),
    "softmax": (LOGITS, lambda x: softmax_cross_entropy(x, TARGET)),
    "warp": (LOGITS, lambda x: warp_loss(x, TARGET, index=INDEX)),
    "label_ranking": (LOGITS, lambda x: label_ranking_loss(x.sigmoid(), TARGET)),
    "squared_error": (LOGITS, lambda x: squared_error(x, TARGET)),
    "sequence": (
        torch.randn(ROWS, 5, LABELS + 1, generator=generator),
        lambda x: sequence_cross_entropy(x, torch.full((ROWS, 5), 3)),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_gradient_does_not_depend_on_which_thread_comes_first(name: str, threads: int) -> None:
    start, loss = LOSSES[name]
    found = set()
    for _ in range(20):
        x = start.clone().requires_grad_()
        loss(x).backward()
        assert x.grad is not None and gradient(x).any()
        found.add(gradient(x).numpy().tobytes())
    assert len(found) == 1
