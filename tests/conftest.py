"""Shared by all tests: one thread, and a run small enough to be trained in a second or two."""

import copy
import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of commands too: two workers share two cores

import torch
from awkward import Case, awkward
from browsers import CHROMIUM
from composing import composed
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.hydra import Hydra
from hydra.plugins.config_source import ConfigResult
from matplotlib.figure import Figure
from untrained import Untrained, untrained_run

from retdm.commands.train import train
from retdm.registry import CONF
from retdm.runs.folder.paths import RunFolder
from retdm.settings.compose import compose_settings
from retdm.settings.run_settings import RunSettings
from retdm.training.pictures import callback, png

if TYPE_CHECKING:
    from playwright.sync_api import Browser

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    gc.freeze()  # what is imported stays, and need not be gone through again and again


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


RENDERED = png.rendered
DRAW = {
    name: getattr(callback, name)
    for name in ("draw_predictions", "draw_heat_maps", "draw_curves", "draw_bars", "draw_embedding")
}


@pytest.fixture(scope="session", autouse=True)
def blank_pictures() -> Iterator[None]:
    """Runs write their pictures blank: to draw them takes a third of a tiny run's time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(png, "rendered", lambda figure: np.zeros((4, 4, 3), np.uint8))
        for name in DRAW:
            patched.setattr(callback, name, lambda *_: Figure())
        yield


@pytest.fixture(autouse=True)
def drawn_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a ``drawn`` test the figures are made, in a ``painted`` one they become pixels too."""
    painted = request.node.get_closest_marker("painted") is not None
    if painted:
        monkeypatch.setattr(png, "rendered", RENDERED)
    if painted or request.node.get_closest_marker("drawn") is not None:
        for name, draw in DRAW.items():
            monkeypatch.setattr(callback, name, draw)


@pytest.fixture(scope="session", autouse=True)
def quick_composition() -> Iterator[None]:
    """Hydra reads each file of ``conf`` once, and does not compose a command's settings twice.

    The first time is to see whether they set ``hydra.mode``, which nothing here does.
    """
    read = FileConfigSource.load_config
    known: dict[str, ConfigResult] = {}

    def load(self: FileConfigSource, config_path: str) -> ConfigResult:
        if self.path != str(CONF):
            return read(self, config_path)
        if config_path not in known:
            known[config_path] = read(self, config_path)
        return copy.deepcopy(known[config_path])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FileConfigSource, "load_config", load)
        patched.setattr(Hydra, "get_mode", lambda self, config_name, overrides: None)
        yield


@pytest.fixture(params=range(5))
def case(request: pytest.FixtureRequest) -> Case:
    return awkward(request.param)


@pytest.fixture
def plain() -> Case:
    """No ties, no empty or full row, every class present and predicted, all known."""
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
def untrained(tiny: Callable[..., RunSettings], tmp_path: Path) -> Untrained:
    """``untrained("method=bce", backbone={…})``: a run folder whose network was never trained, at 32 pixels."""

    def make(*overrides: str, backbone: dict[str, str] | None = None) -> RunFolder:
        settings = tiny("data.image_size=32", *(overrides or ["method=bce"]))
        return untrained_run(settings.changed(backbone=backbone or settings.backbone), tmp_path / "run")

    return make


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a finished tiny run of RETDM; its cache lies in ``cache`` beside it. Not to be changed."""
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
