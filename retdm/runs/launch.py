"""Several processes, one run: who they are and how they agree before training starts."""

import json
import os
from typing import Any

import torch
import torch.distributed as distributed
from lightning_fabric.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]

from retdm.errors import UserError
from retdm.runs.errors import is_leader

AGREED = "RETDM_AGREED"  # what the first process tells those that Lightning starts from it


def devices_and_nodes(trainer: dict[str, Any]) -> tuple[int | list[int], int]:
    """Devices on this machine and number of machines; a launcher that already started the processes knows best."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        return local, world // local
    return trainer["devices"], trainer["num_nodes"]


def accelerator(asked: str) -> str:
    """``cpu`` or ``gpu``; ``auto`` takes a GPU where there is one.

    Raises:
        UserError: a GPU was asked for and there is none.
    """
    if asked not in ("auto", "cpu", "gpu"):
        raise UserError(f"trainer.accelerator={asked} is not known", "it is one of: auto, cpu, gpu")
    if asked == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: there is no GPU that PyTorch can use", "trainer.accelerator=cpu")
    if asked == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    return asked


def check_devices(devices: int | list[int], nodes: int, kind: str) -> None:
    """As many devices as asked for are there.

    Raises:
        UserError: they are not.
    """
    there = torch.cuda.device_count()
    wanted = devices if isinstance(devices, int) else max(devices, default=0) + 1
    if kind == "gpu" and wanted > there:
        raise UserError(f"trainer.devices={devices}: there are {there} GPUs", "ask for no more, or -1 for all")
    if wanted < (1 if kind == "cpu" else -1) or devices in (0, []):
        raise UserError(f"trainer.devices={devices} is out of range", "it is 1 or more (-1: all GPUs)")
    if kind == "cpu" and not isinstance(devices, int):
        raise UserError(f"trainer.devices={devices} lists GPUs, and this run is on the CPU", "give a number")
    cores = os.cpu_count() or 1
    if kind == "cpu" and wanted > cores:
        raise UserError(f"trainer.devices={devices}: there are {cores} processor cores", "ask for no more")
    if nodes < 1:
        raise UserError(f"trainer.num_nodes={nodes} is out of range", "it is 1 or more")


def agree(value: Any) -> Any:
    """The first process's ``value``, in every process of the run. Plain values only."""
    if "TORCHELASTIC_RUN_ID" in os.environ or SLURMEnvironment.detect():
        if not distributed.is_initialized():
            _join()
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]
    if is_leader():
        os.environ[AGREED] = json.dumps(value)
        return value
    return json.loads(os.environ[AGREED])


def _join() -> None:
    """Form the process group that Lightning will find and use."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        slurm = SLURMEnvironment()
        os.environ.update(
            MASTER_ADDR=slurm.main_address,
            MASTER_PORT=str(slurm.main_port),
            RANK=str(slurm.global_rank()),
            WORLD_SIZE=str(slurm.world_size()),
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0))))
        distributed.init_process_group("cpu:gloo,cuda:nccl")
    else:
        distributed.init_process_group("gloo")
