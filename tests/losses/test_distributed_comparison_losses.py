"""The losses of the compared methods: two processes with uneven slices of a batch against one with all of it.

The processes are threads, which start at once; test_distributed_losses.py holds the collectives to real processes.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from gradients import gradient
from torch import Tensor

from retdm.losses import (
    asymmetric_loss,
    canonical_correlation_loss,
    center_loss,
    distribution_balanced_loss,
    focal_loss,
    label_ranking_loss,
    moved_centers,
    sequence_cross_entropy,
    softmax_cross_entropy,
    warp_loss,
)
from retdm.losses.weak_labels.expected_positives import expected_positives
from retdm.losses.weak_labels.large_loss import large_loss

SLICES = (slice(0, 3), slice(3, 5))
LOSSES = (
    *("asymmetric", "canonical_correlation", "center", "distribution_balanced", "expected_positives", "focal"),
    *("label_ranking", "large_loss", "sequence", "softmax", "warp"),
)
COUNTS: dict[str, Any] = {"positives": torch.tensor([3, 2, 0, 2]), "negatives": torch.tensor([2, 3, 4, 2])}


def data() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    target = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0]])
    known = torch.ones(5, 4, dtype=torch.bool)
    known[1, 2:] = False
    sequence = torch.tensor([[0, 3], [1, -1], [0, 3], [-1, -1], [1, 0]])
    return output, target, known, sequence, torch.arange(10, 15)


def losses(rows: slice) -> dict[str, Any]:
    """{name: (value, gradient of the output)} and the moved centres."""
    output, target, known, sequence, index = (part[rows] for part in data())
    centers = torch.arange(16.0, dtype=torch.float64).view(4, 4) / 8
    results = {}
    for name in LOSSES:
        given = output.clone().requires_grad_()
        loss = {
            "asymmetric": lambda z: asymmetric_loss(z, target, known),
            "canonical_correlation": lambda z: canonical_correlation_loss(z, z.sin(), rows=9),
            "center": lambda z: center_loss(z, target, known, centers),
            "distribution_balanced": lambda z: distribution_balanced_loss(z, target, known, **COUNTS),
            "focal": lambda z: focal_loss(z, target, known),
            "expected_positives": lambda z: expected_positives(z, target, known, expected=1.5, total=5),
            "large_loss": lambda z: large_loss(z, target, target > 0, rate=0.3, epoch=1, total=5),
            "label_ranking": lambda z: label_ranking_loss(z.sigmoid(), target, known),
            "sequence": lambda z: sequence_cross_entropy(z[:, None] * torch.ones(2, 1), sequence),
            "softmax": lambda z: softmax_cross_entropy(z, target, known),
            "warp": lambda z: warp_loss(z, target, known, index=index, seed=3),
        }[name](given)
        loss.backward()
        results[name] = (loss.item(), gradient(given))
    return {"losses": results, "centers": moved_centers(centers, output, target, known, 0.5)}


class Threads:
    """The part of torch.distributed that the losses use, among threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.parts: list[Tensor] = [torch.zeros(0)] * size
        self.barrier, self.local = threading.Barrier(size, timeout=60), threading.local()

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return hasattr(self.local, "rank")

    def get_world_size(self) -> int:
        return self.size

    def get_rank(self) -> int:
        rank: int = self.local.rank
        return rank

    def all_gather(self, parts: list[Tensor], mine: Tensor) -> None:
        self.parts[self.get_rank()] = mine.clone()
        self.barrier.wait()
        for part, given in zip(parts, self.parts, strict=True):
            part.copy_(given)
        self.barrier.wait()

    def all_reduce(self, mine: Tensor) -> None:
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        self.all_gather(parts, mine)
        mine.copy_(torch.stack(parts).sum(0))

    def run(self, rank: int) -> dict[str, Any]:
        self.local.rank = rank
        try:
            return losses(SLICES[rank])
        except BaseException:
            self.barrier.abort()  # the other must not wait
            raise


@pytest.fixture(scope="module")
def two() -> list[dict[str, Any]]:
    threads = Threads(2)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr("retdm.losses.distributed.dist", threads)
        return list(pool.map(threads.run, (0, 1)))


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    return losses(slice(None))


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_over_two_processes_is_the_loss_and_the_gradient_of_one(
    one: dict[str, Any], two: list[dict[str, Any]], name: str
) -> None:
    value, gradient = one["losses"][name]
    assert sum(result["losses"][name][0] for result in two) / 2 == pytest.approx(value, abs=1e-12)
    together = torch.cat([result["losses"][name][1] for result in two]) / 2
    torch.testing.assert_close(together, gradient, rtol=0, atol=1e-12)
    assert value > 1e-3 and gradient.abs().max() > 1e-3, "nothing is compared"


def test_both_processes_move_the_centers_as_one_does(one: dict[str, Any], two: list[dict[str, Any]]) -> None:
    for result in two:
        assert torch.equal(result["centers"], one["centers"])
