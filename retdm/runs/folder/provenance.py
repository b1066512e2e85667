"""Provenance of a run: versions, command, machine, threads."""

import platform
import shlex
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "numpy", "scikit-learn", "pillow")


def provenance(typed: Sequence[str] = ()) -> dict[str, Any]:
    """Versions of packages, Python and this code; the command of training; the processor and threads that compute.

    Args:
        typed: words of the command.
    """
    return {
        "command": shlex.join(["retdm", "train", *typed]),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "commit": _commit(),
        "machine": f"{platform.machine()} {platform.system()}",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def rounds_differently(old: Any, new: dict[str, Any]) -> list[str]:
    """Differences of two provenances by which the same sums may round differently, as ``threads 2 -> 1``; nothing where
    the older has no value."""
    old = old if isinstance(old, dict) else {}
    packages = [found if isinstance(found := each.get("packages"), dict) else {} for each in (old, new)]
    pairs = {
        **{name: (old.get(name), new.get(name)) for name in ("threads", "machine", "instructions")},
        **{name: (packages[0].get(name), packages[1].get(name)) for name in ("torch", "numpy")},
    }
    return [f"{name} {one} -> {other}" for name, (one, other) in pairs.items() if one is not None and one != other]


@cache
def _commit() -> str | None:
    """That of the code when the process first asked."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():  # installed: what lies around it is other code's history
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
