"""Rows and means of the global batch, so that many processes compute what one would.

Every process must call these functions equally often and in the same order. Without a process group they are plain.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx


def gather_rows(x: Tensor, total: int | None = None) -> Tensor:
    """Gather the rows of the global batch, in rank order.

    The gradient of a rank's rows is its slice of the incoming gradient times the number of ranks: every rank computes
    the same loss from the same gathered rows, so its slice is the whole gradient of its own rows, the sum over ranks is
    the gradient of the global batch, and DistributedDataParallel divides that sum by the number of ranks.

    Args:
        x: (B, ...) of any float, integer or bool type; B may differ between ranks, the rest may not.
        total: rows of the global batch, where each rank has its slice by ``numpy.array_split``, as loaders divide it.
            None asks the ranks how many they have, for which the host waits for a GPU.

    Returns:
        (sum of the ranks' B, ...), ``x`` itself without a process group. Only float tensors carry a gradient.

    Raises:
        ValueError: of ``total`` rows, this rank would have another number.
    """
    if _world_size() == 1:
        return x
    counts = _asked_counts(x) if total is None else _slices(total, len(x))
    return _GatherRows.apply(x, counts) if x.is_floating_point() else _all_rows(x, counts)


def mean_over_batch(value: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return this process's share of the weighted mean over the global batch.

    (local sum of value · weight) ÷ (global sum of weight) × number of ranks: averaged over the
    ranks, as DistributedDataParallel averages gradients and a log averages values, this is the mean over the global
    batch, however unevenly rows and weights are spread. Without a process group it is the plain weighted mean.

    Args:
        value: float tensor of any shape, finite even where its weight is 0.
        weight: at least 0, float or bool, of a shape that expands to value's; None weighs every element 1.

    Returns:
        () of value's type; 0, with a graph, where the global weight is 0.
    """
    weight = torch.ones_like(value) if weight is None else weight.detach().to(value.dtype).expand_as(value)
    world, total = _world_size(), weight.sum()
    if world > 1:
        dist.all_reduce(total)
    return (value * weight).sum() / torch.where(total > 0, total, 1) * world


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, counts: list[int]) -> Tensor:
        ctx.first, ctx.count = sum(counts[: dist.get_rank()]), len(x)  # type: ignore[attr-defined]
        return _all_rows(x, counts)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        first, count = ctx.first, ctx.count  # type: ignore[attr-defined]
        return gradient[first : first + count] * _world_size(), None


def _all_rows(x: Tensor, counts: list[int]) -> Tensor:
    """All ranks' rows, of which each has ``counts``. Padded on the way: a collective needs one shape."""
    padded = x.new_zeros((max(counts), *x.shape[1:]))
    padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])


def _asked_counts(x: Tensor) -> list[int]:
    """How many rows each rank has, as they say it."""
    counts = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(_world_size())]
    dist.all_gather(counts, torch.tensor([len(x)], device=x.device))
    found: list[int] = torch.cat(counts).tolist()
    return found


def _slices(total: int, own: int) -> list[int]:
    """How many of ``total`` rows each rank has; this one has ``own``."""
    world = _world_size()
    counts = [total // world + (rank < total % world) for rank in range(world)]
    if counts[dist.get_rank()] != own:
        raise ValueError(f"of {total} rows rank {dist.get_rank()} has {counts[dist.get_rank()]}, got {own}")
    return counts


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
