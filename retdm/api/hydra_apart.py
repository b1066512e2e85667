"""Hydra for us alone, in a process whose owner may use it too."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton


@contextmanager
def hydra_apart() -> Iterator[None]:
    """A block without the caller's global objects of Hydra and OmegaConf, which are there again afterwards."""
    state: Any = Singleton.get_state()
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        Singleton.set_state(state)
