"""Shared by all tests: one thread, and a run small enough to be trained in a second or two.

PyTorch is imported by the fixtures, not here: the process that only hands out tests to the workers needs none of it.
"""

import copy
import gc
import os
import signal
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of commands too: two workers share two cores

from browsers import CHROMIUM
from composing import composed
from quick_hydra import quick_composition

from retdm.settings.compose import compose_settings
from retdm.settings.run_settings import RunSettings

if TYPE_CHECKING:
    from awkward import Case
    from playwright.sync_api import Browser
    from untrained import Untrained

    from retdm.runs.folder.paths import RunFolder


gc.disable()  # what is imported and collected stays, and need not be gone through again and again


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


TINY = [
    "data=synthetic",
    "data.size=60",
    "data.image_size=16",
    "data.batch_size=16",
    "backbone=vgg_small",
    "backbone.channels=[8,16]",
    "schedule=short",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
]


DRAWING = {
    "retdm.training.pictures.callback": (
        "draw_predictions",
        "draw_heat_maps",
        "draw_curves",
        "draw_bars",
        "draw_embedding",
    ),
    "retdm.runs.train": ("draw_heat_maps",),
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """What is written need not outlive a power cut; a kill it outlives as it is."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda opened: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def blank_pictures() -> Iterator[dict[tuple[Any, str], Any]]:
    """Runs write their pictures blank: to draw them takes a third of a tiny run's time. Gives what draws them."""
    from matplotlib.figure import Figure

    from retdm.training.pictures import png

    modules = {import_module(module): names for module, names in DRAWING.items()}
    kept = {(module, name): getattr(module, name) for module, names in modules.items() for name in names}
    with pytest.MonkeyPatch.context() as patched:
        for module, name in kept:
            patched.setattr(module, name, lambda *_: Figure())
        kept[png, "rendered"] = png.rendered
        patched.setattr(png, "rendered", lambda figure: np.zeros((4, 4, 3), np.uint8))
        yield kept


@pytest.fixture(autouse=True)
def drawn_pictures(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, blank_pictures: dict[tuple[Any, str], Any]
) -> None:
    """In a ``drawn`` test the figures are made, in a ``painted`` one they become pixels too."""
    painted = request.node.get_closest_marker("painted") is not None
    if painted or request.node.get_closest_marker("drawn") is not None:
        for (module, name), draw in blank_pictures.items():
            if painted or name != "rendered":
                monkeypatch.setattr(module, name, draw)


@pytest.fixture(scope="session", autouse=True)
def quick_hydra() -> Iterator[None]:
    with quick_composition():
        yield


@pytest.fixture(params=range(5))
def case(request: pytest.FixtureRequest) -> "Case":
    from awkward import awkward

    return awkward(request.param)


@pytest.fixture
def plain() -> "Case":
    """No ties, no empty or full row, every class present and predicted, all known."""
    from awkward import Case

    g = np.random.default_rng(7)
    n, labels = 60, 5
    scores = g.permutation(n * labels).reshape(n, labels) / (n * labels)
    target = (g.random((n, labels)) < 0.4).astype(np.int64)
    target[target.sum(1) == 0, 1] = 1
    target[target.sum(1) == labels, 3] = 0
    return Case(scores, target, np.ones((n, labels), dtype=bool), scores >= 0.5)


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the tiny images, decoded once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tiny(tmp_path: Path, tiny_cache: Path) -> Callable[..., RunSettings]:
    """``tiny("method=bce", …)``: settings of a tiny run under ``tmp_path``."""
    return lambda *more: copy.deepcopy(composed(*TINY, f"data.cache={tiny_cache}", *more)).changed(
        outputs=str(tmp_path)
    )


@pytest.fixture
def tiny_l1lr(tiny: Callable[..., RunSettings], tmp_path: Path) -> Callable[..., RunSettings]:
    """``tiny_l1lr("refit=true")``: settings of a tiny run of ``l1lr`` with a cache of its own."""

    def make(*more: str) -> RunSettings:
        found = tiny("method=l1lr", *more)
        found.data["cache"] = str(tmp_path / "cache")
        return found

    return make


@pytest.fixture
def untrained(tiny: Callable[..., RunSettings], tmp_path: Path) -> "Untrained":
    """``untrained("method=bce", backbone={…})``: a run folder whose network was never trained, at 32 pixels."""
    from untrained import untrained_run

    def make(*overrides: str, backbone: dict[str, str] | None = None) -> "RunFolder":
        settings = tiny("data.image_size=32", *(overrides or ["method=bce"]))
        return untrained_run(settings.changed(backbone=backbone or settings.backbone), tmp_path / "run")

    return make


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a finished tiny run of RETDM; its cache lies in ``cache`` beside it. Not to be changed."""
    from retdm.commands.train import train

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    outputs = tmp_path_factory.mktemp("outputs")
    try:
        yield train(compose_settings([*TINY, "method=retdm", f"outputs={outputs}", f"data.cache={outputs / 'cache'}"]))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.fixture
def threads() -> Iterator[int]:
    """Several, as users have them, in the place of the tests' one: more than there are cores, so that they meet."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield 4
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()
