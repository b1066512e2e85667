"""Runs that repeat themselves bit by bit: sums in one order, by a number of threads that is known."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from retdm.runs.distributed import accelerator, devices_and_nodes


def is_deterministic(trainer: Mapping[str, Any]) -> bool:
    """What ``trainer.deterministic`` says; null is yes on the CPU, where it costs nothing, and no on a GPU."""
    asked: bool | None = trainer["deterministic"]
    return accelerator(trainer["accelerator"]) == "cpu" if asked is None else asked


@contextmanager
def repeatable(trainer: Mapping[str, Any]) -> Iterator[None]:
    """While a run trains, PyTorch adds up in a fixed order wherever it can, if the settings want it.

    Threads that add to one place (the gradient of ``x[rows]`` where rows repeat is the one known on CPUs) do so in the
    order in which they come, which changes the last digits from run to run. The order that is fixed is that of a number
    of threads: processes that share a CPU get their share of it here, before anybody asks for the number.

    An operation without such an order, of which GPUs have a few, is named by a warning of PyTorch's.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    threads = torch.get_num_threads()
    devices, _ = devices_and_nodes(dict(trainer))
    on_cpu = accelerator(trainer["accelerator"]) == "cpu"
    if on_cpu and isinstance(devices, int) and devices > 1 and "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // devices))  # as Lightning does, but later
    if is_deterministic(trainer):
        if not on_cpu:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS has no order
        torch.use_deterministic_algorithms(True, warn_only=True)
        # It would fill what nobody has written with NaN: a search for bugs, and not for free.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        torch.set_num_threads(threads)
