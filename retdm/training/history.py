"""``history.jsonl`` of a run folder: a line an epoch, which a report reads. Needs neither PyTorch nor Lightning."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retdm.files import write_text

# What each line has: epoch (from 1 over all stages), stage, rates (of the last step, by parameter group), train and
# validation (losses, diagnostics and criteria by name; null for what is no number), seconds, images_per_second.
Line = dict[str, Any]


def read_history(path: Path) -> list[Line]:
    """The lines of whole epochs in order; none where there is no file. What a kill left half written is left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line for text in lines if (line := _parsed(text)) is not None]


def _parsed(text: str) -> Line | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    kinds = {"epoch": int, "stage": str, "train": dict, "validation": dict}
    sound = isinstance(line, dict) and all(isinstance(line.get(key), kind) for key, kind in kinds.items())
    return line if sound and line["epoch"] >= 1 else None


def keep_epochs(path: Path, epochs: int) -> None:
    """Leave the lines of the first ``epochs`` epochs: a run that is continued there writes the others again."""
    kept = [line for line in read_history(path) if line["epoch"] <= epochs]
    if kept or path.exists():
        write_text(path, "".join(f"{json.dumps(line)}\n" for line in kept))


def append_epoch(path: Path, line: Mapping[str, Any]) -> None:
    """Add an epoch by one write, so that a kill leaves the lines before it whole."""
    text = json.dumps({key: _plain(value) for key, value in line.items()}, allow_nan=False)
    with path.open("ab", buffering=0) as file:
        file.write(f"{text}\n".encode())
        os.fsync(file.fileno())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
