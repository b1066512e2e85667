"""Two processes train what one would: one run folder, the same weights and criteria."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
# 62 images: no part divides evenly by two. Every third label is unknown.
COMMAND = [
    str(ROOT / "train.py"),
    "data._target_=makers.PartlyKnown",
    "data.size=62",
    "data.image_size=16",
    "data.batch_size=11",
    "data.workers=0",
    "backbone.channels=[8,16]",
    "schedule=short",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
]


def command(launcher: list[str], *overrides: str) -> None:
    done = subprocess.run(
        [*launcher, *COMMAND, *overrides],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def one(folder: Path) -> Path:
    command([sys.executable], f"run={folder / 'one'}", f"data.cache={folder / 'cache'}")
    return folder / "one"


@pytest.mark.parametrize("way", ["devices", pytest.param("torchrun", marks=pytest.mark.slow)])
def test_two_processes_end_where_one_does(way: str, one: Path, folder: Path) -> None:
    two = folder / way
    overrides = [f"run={two}", f"data.cache={folder / 'cache'}"]
    if way == "devices":
        command([sys.executable], "trainer.devices=2", *overrides)
    else:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = str(free.getsockname()[1])
        launcher = [
            "torch.distributed.run",
            "--nproc-per-node",
            "2",
            "--master-addr",
            "localhost",
            "--master-port",
            port,
        ]
        command([sys.executable, "-m", *launcher], *overrides)
    for name in ("last", "best", "best-classification"):
        a, b = (torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"] for run in (one, two))
        for key in a:
            # Rounding alone: sums over rows are split in another way, over three stages of training.
            torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=2e-6, msg=lambda text, key=key: f"{key}: {text}")
    a, b = (np.load(run / "predictions.npz") for run in (one, two))
    np.testing.assert_array_equal(a["index"], b["index"])
    np.testing.assert_allclose(a["scores"], b["scores"], atol=1e-5)
    a, b = (json.loads((run / "metrics.json").read_text()) for run in (one, two))
    for name, value in a["test"].items():
        assert b["test"][name] == pytest.approx(value, abs=0.01)
    assert len(list((two / "tensorboard").glob("events*"))) >= 1
