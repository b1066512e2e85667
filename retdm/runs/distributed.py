"""Several processes, one run: how they start, agree, and end together."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as distributed
from lightning_fabric.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]

from retdm.errors import UserError
from retdm.runs.errors import as_user_error, report
from retdm.settings.devices import check_devices, count_of, devices_and_nodes
from retdm.stop import NUMBERS, Stopped, StopRequest, is_leader

STARTED = "RETDM_STARTED"  # set in processes that the first one started
FAILED = "retdm/failed"  # key under which a process leaves its error for the first one
NOTICED = 10.0  # seconds in which a process notices by itself that another is lost, unless it waits inside a library


def broadcast(value: Any) -> Any:
    """The first process's ``value``, in every process of the run. Plain values only."""
    if not distributed.is_initialized():
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


@contextlib.contextmanager
def together(config: dict[str, Any], request: StopRequest) -> Iterator[None]:
    """The processes of a run work together in this block: started here, or by torchrun or Slurm.

    An end of one of them ends them all, in bounded time; the first one reports the reason.

    Args:
        config: the trainer's settings.
        request: to stop this process.

    Raises:
        UserError: the devices are not there, or another process failed or was lost.
        Stopped: another process was stopped.
    """
    devices, nodes = devices_and_nodes(config)
    check_devices(config)
    others = _Others(request)
    launched = "TORCHELASTIC_RUN_ID" in os.environ or SLURMEnvironment.detect()
    local = count_of(devices)
    if not launched and local * nodes == 1:
        yield
        return
    if STARTED in os.environ:
        threading.Thread(target=_end_with_the_first, daemon=True).start()
    elif not launched:
        others.start(local, nodes)
    try:
        _join(devices)
        yield
        broadcast(None)  # waits until all have come so far
    except Exception as error:
        known = as_user_error(error)
        if _is_lost_peer(error) or (others.lost and known is None):
            raise others.reason() from error
        if not is_leader():
            _leave_word(known or UserError(f"{type(error).__name__}: {error}", "its traceback stands above"))
        raise
    finally:
        others.end()
    distributed.destroy_process_group()


class _Others:
    """The processes of this machine that this one started, and how they ended."""

    def __init__(self, request: StopRequest) -> None:
        self.request = request
        self.processes: dict[int, subprocess.Popen[bytes]] = {}  # by rank
        self.lost: dict[int, int] = {}  # rank -> exit code, of those that ended too early
        self.ending = False

    def start(self, local: int, nodes: int) -> None:
        """Start ``local`` - 1 of them by this process's own command line."""
        if nodes > 1 and not {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} <= os.environ.keys():
            raise UserError(
                f"trainer.num_nodes={nodes} needs MASTER_ADDR, MASTER_PORT and NODE_RANK in the environment",
                "set them on each machine, or start the command by torchrun",
            )
        first = int(os.environ.get("NODE_RANK", 0)) * local
        if nodes == 1:
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        os.environ |= {"WORLD_SIZE": str(local * nodes), "LOCAL_RANK": "0", "RANK": str(first)}
        for i in range(1, local):
            self.processes[first + i] = subprocess.Popen(
                [sys.executable, *sys.orig_argv[1:]],
                env=os.environ | {"LOCAL_RANK": str(i), "RANK": str(first + i), STARTED: "1"},
                stdin=subprocess.PIPE,  # ends when this process does
                stdout=subprocess.DEVNULL,
            )
        for rank in self.processes:
            threading.Thread(target=self._watch, args=(rank,), daemon=True).start()

    def _watch(self, rank: int) -> None:
        code = self.processes[rank].wait()
        if code == 0 or self.ending:
            return
        self.lost[rank] = code
        time.sleep(NOTICED)
        if not (self.ending or self.request.number):  # a request to stop has its own time limit
            reason = self.reason()
            if isinstance(reason, UserError):
                report(reason)
            else:
                self.request.report(reason.number)
            os._exit(reason.exit_code if isinstance(reason, Stopped) else 2)

    def reason(self) -> UserError | Stopped:
        """The reason why the run cannot go on after another process has ended."""
        deadline = time.monotonic() + 2  # its broken connection may be noticed before its end
        while self.processes and not self.lost and time.monotonic() < deadline:
            time.sleep(0.05)
        if self.request.number:
            return Stopped(self.request.number)
        word = _word()
        if word is not None:
            return word
        hint = "the same command continues from the last checkpoint"
        if not self.lost:
            return UserError("another process of this run was lost", hint)
        rank, code = next(iter(self.lost.items()))
        number = -code if code < 0 else code - 128
        if number in NUMBERS:
            return Stopped(number)
        end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return UserError(f"process {rank} of this run {end}", hint)

    def end(self) -> None:
        """End the others that still run; they hold nothing that is not saved."""
        self.ending = True
        for process in self.processes.values():
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def _end_with_the_first() -> None:
    """Wait for the end of the process that started this one; nothing else comes through the pipe."""
    while os.read(0, 1):  # not by sys.stdin, whose lock an interpreter that ends would wait for
        pass
    os._exit(1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _is_lost_peer(error: BaseException) -> bool:
    """True for PyTorch's error that another process does not answer any more."""
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError)
        and any(word in str(error) for word in ("gloo", "Connection closed by peer", "Connection reset by peer"))
    )


def _leave_word(error: UserError) -> None:
    with contextlib.suppress(Exception):  # the first process may be gone
        _store().set(FAILED, json.dumps([error.message, error.hint]))


def _word() -> UserError | None:
    try:
        if distributed.is_initialized() and _store().check([FAILED]):
            return UserError(*json.loads(_store().get(FAILED)))
    except Exception:
        pass  # the machine of the store is lost too
    return None


def _store() -> Any:
    return distributed.distributed_c10d._get_default_store()


def _join(devices: int | list[int]) -> None:
    """Form the process group that Lightning will find and use."""
    if "RANK" not in os.environ:
        slurm = SLURMEnvironment()
        os.environ.update(
            MASTER_ADDR=slurm.main_address,
            MASTER_PORT=str(slurm.main_port),
            RANK=str(slurm.global_rank()),
            WORLD_SIZE=str(slurm.world_size()),
        )
    if torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0)))
        torch.cuda.set_device(devices[local] if isinstance(devices, list) else local)
        distributed.init_process_group("cpu:gloo,cuda:nccl")
    else:
        distributed.init_process_group("gloo")
