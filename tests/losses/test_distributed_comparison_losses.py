"""The losses of the compared methods: two processes with uneven slices of a batch against one with all of it.

The processes are threads, which start at once; test_distributed_losses.py holds the collectives to real processes.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from retdm.losses import (
    asymmetric_loss,
    canonical_correlation_loss,
    center_loss,
    label_ranking_loss,
    moved_centers,
    sequence_cross_entropy,
    softmax_cross_entropy,
    warp_loss,
)

SLICES = (slice(0, 3), slice(3, 5))
LOSSES = ("asymmetric", "canonical_correlation", "center", "label_ranking", "sequence", "softmax", "warp")


def data():
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    target = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0]])
    known = torch.ones(5, 4, dtype=torch.bool)
    known[1, 2:] = False
    sequence = torch.tensor([[0, 3], [1, -1], [0, 3], [-1, -1], [1, 0]])
    return output, target, known, sequence, torch.arange(10, 15)


def losses(rows):
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
            "label_ranking": lambda z: label_ranking_loss(z.sigmoid(), target, known),
            "sequence": lambda z: sequence_cross_entropy(z[:, None] * torch.ones(2, 1), sequence),
            "softmax": lambda z: softmax_cross_entropy(z, target, known),
            "warp": lambda z: warp_loss(z, target, known, index=index, seed=3),
        }[name](given)
        loss.backward()
        results[name] = (loss.item(), given.grad)
    return {"losses": results, "centers": moved_centers(centers, output, target, known, 0.5)}


class Threads:
    """What the losses ask of torch.distributed, among threads."""

    def __init__(self, size):
        self.size, self.parts = size, [None] * size
        self.barrier, self.local = threading.Barrier(size, timeout=60), threading.local()

    def is_available(self):
        return True

    def is_initialized(self):
        return hasattr(self.local, "rank")

    def get_world_size(self):
        return self.size

    def get_rank(self):
        return self.local.rank

    def all_gather(self, parts, mine):
        self.parts[self.get_rank()] = mine.clone()
        self.barrier.wait()
        for part, given in zip(parts, self.parts, strict=True):
            part.copy_(given)
        self.barrier.wait()

    def all_reduce(self, mine):
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        self.all_gather(parts, mine)
        mine.copy_(sum(parts))

    def run(self, rank):
        self.local.rank = rank
        try:
            return losses(SLICES[rank])
        except BaseException:
            self.barrier.abort()  # the other must not wait
            raise


@pytest.fixture(scope="module")
def two():
    threads = Threads(2)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr("retdm.losses.distributed.dist", threads)
        return list(pool.map(threads.run, (0, 1)))


@pytest.fixture(scope="module")
def one():
    return losses(slice(None))


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_over_two_processes_is_the_loss_and_the_gradient_of_one(one, two, name):
    value, gradient = one["losses"][name]
    assert sum(result["losses"][name][0] for result in two) / 2 == pytest.approx(value, abs=1e-12)
    together = torch.cat([result["losses"][name][1] for result in two]) / 2
    torch.testing.assert_close(together, gradient, rtol=0, atol=1e-12)
    assert value > 1e-3 and gradient.abs().max() > 1e-3, "nothing is compared"


def test_both_processes_move_the_centers_as_one_does(one, two):
    for result in two:
        assert torch.equal(result["centers"], one["centers"])
