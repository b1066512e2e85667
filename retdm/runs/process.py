"""The process that a command runs in: its memory, its threads, the order of its sums, its warnings."""

import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image

from retdm.settings.devices import accelerator, devices_and_nodes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt


def prepare_process() -> None:
    """First step of every command: reuse freed memory, filter warnings that concern no user, each for its reason."""
    keep_freed_memory()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # Workers are chosen on purpose (data.workers).
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    # The loader can start inside an epoch (retdm/data/loader.py); Lightning looks for another interface.
    warnings.filterwarnings("ignore", ".*resuming from a checkpoint that ended before the epoch ended.*")
    # Frozen parts are in evaluation mode on purpose.
    warnings.filterwarnings("ignore", ".*module.*in eval mode at the start of training.*")
    # The logger's folder is the run's, which a continued run finds full.
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
    # Few steps an epoch are no mistake on small data.
    warnings.filterwarnings("ignore", ".*The number of training batches .* is smaller than the logging interval.*")
    # https://github.com/Lightning-AI/pytorch-lightning/issues/20644: from inside Lightning's own tree utilities.
    warnings.filterwarnings("ignore", ".*isinstance\\(treespec, LeafSpec\\).*")
    # PyTorch's note that no parameter went unused in some step: in other stages they do.
    warnings.filterwarnings("ignore", ".*find_unused_parameters=True was specified.*")
    # What is logged at an epoch's end was gathered from all processes before.
    warnings.filterwarnings("ignore", ".*It is recommended to use .*sync_dist=True.*")
    # The method normalises images, the data module never does: that is the intended one.
    warnings.filterwarnings("ignore", ".*You have overridden `on_after_batch_transfer`.*")
    # A photograph of 100 million pixels is none; from twice Pillow's limit on it is refused (retdm/data/images.py).
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step instead of handing it back to the system.

    Activations are allocated and freed at each training step; by default glibc maps every large block anew, and the
    system must clear its pages each time: with mobilenet_v2 that took half of the time. Other allocators need no help.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


def is_deterministic(trainer: Mapping[str, Any]) -> bool:
    """The value of ``trainer.deterministic``; null is yes on the CPU, where it costs nothing, and no on a GPU."""
    asked: bool | None = trainer["deterministic"]
    return accelerator(trainer["accelerator"]) == "cpu" if asked is None else asked


@contextmanager
def repeatable(trainer: Mapping[str, Any]) -> Iterator[None]:
    """While a run trains, PyTorch adds up in a fixed order wherever it can, if the settings want it.

    Threads that add to one place (on CPUs the gradient of ``x[rows]`` with repeated rows) do so in the order in which
    they come, which changes the last digits from run to run. A fixed order depends on the number of threads: processes
    that share a CPU get their share of it here, before the number is read.

    PyTorch warns of an operation that has no fixed order, of which GPUs have a few.
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
        # It would fill uninitialised memory with NaN, which costs time and only finds bugs.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        torch.set_num_threads(threads)
