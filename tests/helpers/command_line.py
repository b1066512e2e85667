"""The two commands as a user starts them, and settings under which a run takes a second."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from hydra.core.global_hydra import GlobalHydra

from retdm.__main__ import run

ROOT = Path(__file__).resolve().parents[2]

TINY_NET = (
    "backbone.channels=[8,16]",
    "method.embedding_dim=8",
    "schedule=short",
    "data.image_size=16",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
)
TINY = (*TINY_NET, "data.size=60", "data.batch_size=16")
Refused = Callable[..., str]  # of the fixture ``refused``


def start(command: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """``python <command> <arguments>`` from another folder, in a process of its own."""
    return subprocess.run(
        [sys.executable, str(ROOT / command), *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )


@dataclass(frozen=True)
class Done:
    """How a command ended: exit code and what it printed."""

    code: int
    out: str
    err: str


def in_process(command: str, *arguments: str) -> Done:
    """``retdm train <arguments>``, or ``retdm <command> <arguments>``, without a process of its own.

    What escapes is a bug, and goes on to the test. The process is left as it was found.
    """
    out, err = io.StringIO(), io.StringIO()
    code = 0
    argv = mock.patch.object(sys, "argv", [command, *arguments])
    with in_a_run(), argv, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run(Path(command).stem)
        except SystemExit as exit:
            code = int(exit.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def in_a_run() -> Iterator[None]:
    """Leaves environment, signals, threads' hook and Hydra as they were found."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    hook = mock.patch.object(threading, "excepthook", threading.excepthook)
    ignore_requests = mock.patch("retdm.stop.listen")  # to signals, which a command does to the end of its process
    GlobalHydra.instance().clear()
    try:
        with mock.patch.dict(os.environ), hook, ignore_requests:
            yield
    finally:
        GlobalHydra.instance().clear()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def check_message(done: Done) -> str:
    """The message of a refused command, after checking its form."""
    assert done.code == 2, done.out
    lines = done.err.splitlines()
    assert 1 <= len(lines) <= 6, done.err
    assert lines[0].startswith("error: "), done.err
    assert [line for line in lines if line.startswith("error: ")] == lines[:1], "more than one message"
    assert "Traceback" not in done.err + done.out
    return done.err


def predictions_in(folder: Path) -> Any:
    """The content of a folder's ``predictions.json``."""
    return json.loads((folder / "predictions.json").read_text())
