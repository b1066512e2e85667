"""Two processes train what one would: one run folder, the same weights and criteria."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import in_process

ROOT = Path(__file__).resolve().parents[2]
# 62 images: no part divides evenly by two. Every third label is unknown.
TRAIN = str(ROOT / "train.py")
SETTINGS = [
    "data._target_=makers.PartlyKnown",
    "data.size=62",
    "data.image_size=16",
    "data.batch_size=11",
    "data.workers=0",
    "backbone.channels=[8,16]",
    "schedule=short",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "method.decide=per_label_f1",
]
LONG = ["trainer.devices=2", "schedule.joint.max_epochs=500"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'helpers'}", "OMP_NUM_THREADS": "1"}


def command(launcher: list[str], *overrides: str) -> None:
    done = subprocess.run(
        [*launcher, *SETTINGS, *overrides],
        capture_output=True,
        text=True,
        timeout=600,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr[-3000:]


PROBE = [
    "schedule=fine_tune",
    "schedule.joint.max_epochs=1",
    "schedule.label_embedding.min_steps=8",
    "schedule.joint.min_steps=0",
    "data.batch_size=11",
    "optimizer=sgd",
    "schedule.joint.lr=0.01",
]


def one_process(folder: Path, *overrides: str) -> Path:
    """The run that this process trains, a command without one of its own."""
    done = in_process("train.py", *SETTINGS, f"run={folder / 'one'}", f"data.cache={folder / 'cache'}", *overrides)
    assert done.code == 0, done.err
    return folder / "one"


def assert_same_end(one: Path, two: Path, *checkpoints: str) -> None:
    for name in checkpoints:
        a, b = (torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"] for run in (one, two))
        for key in a:
            # Rounding alone: sums over rows are split in another way, over all stages of training.
            torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
    a, b = (np.load(run / "predictions.npz") for run in (one, two))
    np.testing.assert_array_equal(a["index"], b["index"])
    np.testing.assert_allclose(a["scores"], b["scores"], atol=1e-5)
    a, b = (json.loads((run / "metrics.json").read_text()) for run in (one, two))
    for name, value in a["test"].items():
        assert b["test"][name] == pytest.approx(value, abs=0.01)
    assert b["decision"]["rule"] == "per_label_f1"
    assert b["decision"]["threshold"] == pytest.approx(a["decision"]["threshold"], abs=1e-4)
    assert len(list((two / "tensorboard").glob("events*"))) >= 1


def test_two_processes_begin_at_the_probe_and_end_where_one_does(tmp_path: Path) -> None:
    one, two = one_process(tmp_path, *PROBE), tmp_path / "two"
    more = ["trainer.devices=2", f"run={two}", f"data.cache={tmp_path / 'cache'}", *PROBE]
    command([sys.executable, "-m", "retdm", "train"], *more)
    assert_same_end(one, two, "start", "end", "best", "last")


@pytest.mark.slow  # the same two processes, with the first stages on images too and by another launcher
def test_two_processes_of_torchrun_end_where_one_does(tmp_path: Path) -> None:
    one, two = one_process(tmp_path), tmp_path / "two"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    launcher = ["torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "localhost", "--master-port"]
    more = [f"run={two}", f"data.cache={tmp_path / 'cache'}"]
    command([sys.executable, "-m", *launcher, port, TRAIN], *more)
    assert_same_end(one, two, "last", "best", "best-classification")


@pytest.mark.slow
def test_two_processes_choose_the_mixture_that_one_does(tmp_path: Path) -> None:
    found = []
    for processes in (1, 2):
        run = tmp_path / f"mixture{processes}"
        more = [f"run={run}", f"data.cache={run}-cache", f"trainer.devices={processes}", "method.score=both"]
        more += ["data.size=120", "data.validation_fraction=0.6"]  # enough to choose on
        command([sys.executable, TRAIN], *more, "data._target_=retdm.data.synthetic.source.Synthetic")
        state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
        found.append((state["share"], torch.from_numpy(np.load(run / "predictions.npz")["scores"])))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-5)
    assert found[0][0] != 0.5


def stopped(folder: Path, number: int, *overrides: str, rank: int | None = None) -> tuple[int, str]:
    """Exit code and standard error of a run of two processes: all of them are sent a signal in training, or one is."""
    run = folder / "run"
    process = subprocess.Popen(
        [
            sys.executable,
            TRAIN,
            *SETTINGS,
            "trainer.devices=2",
            f"run={run}",
            "schedule.joint.max_epochs=500",
            *overrides,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=ENVIRONMENT,
    )
    deadline = time.monotonic() + 300
    while not (run / "checkpoints" / "best-label_embedding.ckpt").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    if rank is None:
        os.killpg(process.pid, number)
    else:
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), number)
    saved = time.time()
    try:
        _, said = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert rank is not None or (run / "checkpoints" / "last.ckpt").stat().st_mtime >= saved - 1
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_all_processes_is_one_line(number: int, workers: int, tmp_path: Path) -> None:
    code, said = stopped(tmp_path, number, f"data.workers={workers}")
    told = f"stopped by {signal.Signals(number).name}; the same command continues\n"
    assert (code, said) == (128 + number, told)


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run_in_one_message(tmp_path: Path) -> None:
    code, said = stopped(tmp_path, signal.SIGKILL, rank=1)
    assert code == 2
    assert said.splitlines() == [
        "error: process 1 of this run was killed by SIGKILL",
        "  the same command continues from the last checkpoint",
    ]


@pytest.mark.slow
def test_a_loss_of_one_process_that_is_no_number_is_one_message(tmp_path: Path) -> None:
    words = [sys.executable, TRAIN, *SETTINGS, "trainer.devices=2", f"run={tmp_path / 'run'}"]
    done = subprocess.run(
        [*words, "method=bce", "method._target_=makers.SpoiltInTheSecondProcess"],
        capture_output=True,
        text=True,
        timeout=600,
        env=ENVIRONMENT,
    )
    assert done.returncode == 2
    first, hint = done.stderr.splitlines()
    assert first.startswith("error: the loss of step 2 is not a number (stage end_to_end, epoch 1, images ")
    assert hint.startswith("  the last good checkpoint is kept")
