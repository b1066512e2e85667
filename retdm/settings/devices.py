"""The devices that a run computes on: CPU or GPUs, how many, and in which precision."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from retdm.errors import UserError

CPUINFO = Path("/proc/cpuinfo")


def devices_and_nodes(trainer: Mapping[str, Any]) -> tuple[int | list[int], int]:
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
    if asked == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: there is no GPU that PyTorch can use", "trainer.accelerator=cpu")
    if asked == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    return asked


def device_of(trainer: Mapping[str, Any]) -> torch.device:
    """The device of this process, among those that ``trainer`` names."""
    if accelerator(trainer["accelerator"]) == "cpu":
        return torch.device("cpu")
    devices, _ = devices_and_nodes(trainer)
    local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0)))
    return torch.device("cuda", devices[local] if isinstance(devices, list) else local)


def device_name(device: torch.device) -> str:
    """The name of a GPU, or of the processor as far as the system tells it: ``NVIDIA H200``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def device_named(asked: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` is a GPU where there is one.

    Raises:
        UserError: it is another name, or a GPU that is not there.
    """
    if asked not in ("auto", "cpu", "cuda"):
        raise UserError(f"device={asked} is not known", "it is one of: auto, cpu, cuda")
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise UserError("device=cuda: there is no GPU that PyTorch can use", "device=cpu")
    return asked if asked != "auto" else "cuda" if there else "cpu"


def count_of(devices: int | list[int]) -> int:
    """Number of devices that ``trainer.devices`` names."""
    return len(devices) if isinstance(devices, list) else torch.cuda.device_count() if devices == -1 else devices


def check_devices(trainer: Mapping[str, Any]) -> None:
    """Check that the devices that were asked for exist.

    Raises:
        UserError: they are not.
    """
    kind = accelerator(trainer["accelerator"])
    devices, _ = devices_and_nodes(trainer)
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


def precision(asked: str, accelerator: str) -> str:
    """``bf16-mixed`` or ``32-true``; ``auto`` is the former where the processor multiplies bfloat16 matrices."""
    if asked == "auto":
        return "bf16-mixed" if _has_bfloat16(accelerator) else "32-true"
    return asked


def _has_bfloat16(accelerator: str) -> bool:
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
    flags = CPUINFO.read_text().split() if CPUINFO.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags
