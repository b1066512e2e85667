"""A run inside somebody else's process, which finds everything afterwards as it was before."""

import ctypes
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from tqdm import tqdm

from retdm.display.figure_text import fonts_restored
from retdm.runs.process import M_MMAP_MAX, M_TRIM_THRESHOLD

LOGGERS = ("retdm", "pytorch_lightning", "lightning_fabric", "matplotlib.font_manager")


@contextmanager
def untouched() -> Iterator[None]:
    """A block in which a command's work is done, and after which nothing of it is left but files and loaded modules.

    Restored are: the environment, warnings' filters, levels and handlers of the loggers a run speaks by, the random
    generators of Python, NumPy and PyTorch, PyTorch's threads and choices of algorithms, Matplotlib's settings, tqdm's
    thread, and the way in which glibc hands memory back. For Hydra there is :mod:`retdm.api.hydra_apart`, for signals
    :func:`retdm.stop.listening`.
    """
    with ExitStack() as held:
        for part in (_environment, _loggers, _random_numbers, _algorithms, fonts_restored, _memory, _bars):
            held.enter_context(part())
        held.enter_context(warnings.catch_warnings())
        yield


@contextmanager
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


@contextmanager
def _loggers() -> Iterator[None]:
    found = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in found]
    try:
        yield
    finally:
        for logger, (level, propagate, handlers) in zip(found, before, strict=True):
            logger.setLevel(level)
            logger.propagate, logger.handlers = propagate, handlers


@contextmanager
def _random_numbers() -> Iterator[None]:
    drawn = random.getstate(), np.random.get_state()  # noqa: NPY002  # the caller's own, which libraries may use
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])  # noqa: NPY002
        if gpus is not None:
            torch.cuda.set_rng_state_all(gpus)
        elif torch.cuda.is_initialized():  # as if it were now for the first time
            torch.cuda.manual_seed_all(torch.initial_seed())


@contextmanager
def _algorithms() -> Iterator[None]:
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    try:
        with torch.enable_grad():  # restores the mode that the caller is in
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = cudnn


@contextmanager
def _bars() -> Iterator[None]:
    """tqdm's thread, which watches over bars that are slow."""
    before = tqdm.monitor
    try:
        yield
    finally:
        if before is None and tqdm.monitor is not None:
            tqdm.monitor.exit()
            tqdm.monitor = None


@contextmanager
def _memory() -> Iterator[None]:
    try:
        yield
    finally:
        libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        if libc is not None and hasattr(libc, "mallopt"):  # glibc's own values, and what is free goes back
            libc.mallopt(M_MMAP_MAX, 65536)
            libc.mallopt(M_TRIM_THRESHOLD, 128 * 1024)
            libc.malloc_trim(0)
