"""Runs and images that the tests of commands share."""

import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from command_line import TINY, Done, Refused, check_message, in_process

from retdm.data.synthetic.source import Synthetic


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the images are kept, decoded once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def refused(tmp_path: Path, cache: Path) -> Refused:
    """``refused("method.k=0")``: the message of a tiny run with that, which must be refused and leave no result."""

    def run(*arguments: str, base: tuple[str, ...] = TINY) -> str:
        done = in_process("train.py", f"outputs={tmp_path / 'out'}", f"data.cache={cache}", *base, *arguments)
        assert not list((tmp_path / "out").rglob("metrics.json"))
        assert not list((tmp_path / "out").rglob("*.ckpt")), "refused only after training had begun"
        return check_message(done)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The folder of a finished run. Not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    done = in_process("train.py", f"run={folder}", f"data.cache={cache}", *TINY)
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture(scope="session")
def rows(tiny_run: Path) -> dict[str, np.ndarray]:
    """Predictions of the run for its test split: index, scores, …"""
    return dict(np.load(tiny_run / "predictions.npz"))


@pytest.fixture(scope="session")
def photos(rows: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's test images as files, called so that their order is that of ``rows``. Not to be changed."""
    folder = tmp_path_factory.mktemp("photos")
    source = Synthetic(60, side=18)
    for i in rows["index"]:
        source.read(int(i)).save(folder / f"{i:05d}.png")
    return folder


@pytest.fixture(scope="session")
def predicted(tiny_run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    """What the command says about the test images in batches of 5, and where it wrote."""
    out = tmp_path_factory.mktemp("predicted") / "new" / "place"
    with mock.patch.object(torch.cuda, "is_available", return_value=False):
        return in_process(
            "predict", f"run={tiny_run}", f"images={photos}", f"out={out}", "batch_size=5", "gallery=true"
        ), out


@pytest.fixture
def trained(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of what predicting needs of the run."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_run / "checkpoints", folder / "checkpoints")
    return folder
