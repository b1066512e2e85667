"""What the first process of a run says when another one ends."""

import os
import signal
import sys
from collections.abc import Iterator
from unittest import mock

import pytest

from retdm.errors import UserError
from retdm.runs import distributed as launch
from retdm.runs.distributed import _is_lost_peer, _Others
from retdm.stop import Stopped, StopRequest


@pytest.fixture
def others() -> Iterator[_Others]:
    with mock.patch.dict(os.environ):
        found = _Others(StopRequest())
        yield found
        found.end()


def start(others: _Others, program: str, local: int = 2) -> None:
    with mock.patch.object(sys, "orig_argv", [sys.executable, "-S", "-c", program]):
        others.start(local, 1)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("raise SystemExit(3)", "process 1 of this run ended with code 3"),
        ("import os; os.kill(os.getpid(), 9)", "process 1 of this run was killed by SIGKILL"),
    ],
)
def test_a_lost_process_is_named(others: _Others, program: str, told: str) -> None:
    start(others, program)
    reason = others.reason()
    assert isinstance(reason, UserError) and reason.message == told


@pytest.mark.parametrize("program", ["import os; os.kill(os.getpid(), 15)", "raise SystemExit(143)"])
def test_a_process_that_was_stopped_stops_the_run(others: _Others, program: str) -> None:
    start(others, program)
    reason = others.reason()
    assert isinstance(reason, Stopped) and reason.number == signal.SIGTERM


def test_the_others_end_with_the_first_and_know_their_places(others: _Others, tmp_path: object) -> None:
    program = (
        f"import os, sys; open('{tmp_path}/' + os.environ['RANK'], 'w')"
        ".write(' '.join(os.environ[k] for k in ('LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR'))); sys.stdin.read()"
    )
    start(others, program, 3)
    assert os.environ["RANK"] == "0"
    assert all(process.poll() is None for process in others.processes.values())
    others.end()
    assert [process.returncode for process in others.processes.values()] == [0, 0]
    for rank in (1, 2):
        with open(f"{tmp_path}/{rank}") as file:
            assert file.read() == f"{rank} 3 127.0.0.1"


def test_machines_that_do_not_know_each_other_are_refused(others: _Others) -> None:
    with pytest.raises(UserError, match="num_nodes=2 needs MASTER_ADDR, MASTER_PORT and NODE_RANK"):
        others.start(1, 2)
    assert not others.processes


def test_what_pytorch_says_of_a_lost_process_is_told_from_other_errors() -> None:
    assert _is_lost_peer(RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer"))
    assert _is_lost_peer(launch.distributed.DistNetworkError("x"))
    assert not _is_lost_peer(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not _is_lost_peer(UserError("gloo"))
