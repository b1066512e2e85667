"""Names of everything a run leaves, and how it is written."""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retdm.errors import UserError


class RunFolder:
    """A run's folder. ``metrics.json`` is written last: its presence means finished."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.split = self.path / "split.json"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"
        self.last = self.checkpoints / "last.ckpt"
        self.metrics = self.path / "metrics.json"
        self.test = self.path / "test.json"
        self.predictions = self.path / "predictions.npz"
        self.tensorboard = self.path / "tensorboard"
        self.pictures = self.path / "pictures"
        self.log = self.path / "log.txt"
        self.error = self.path / "error.txt"

    @property
    def finished(self) -> bool:
        return self.metrics.exists()

    def clear(self) -> None:
        """Remove what a run left, and nothing else that lies there."""
        # metrics.json first: a clearing that is interrupted must not look finished.
        for path in (self.metrics, self.config, self.split, self.test, self.predictions, self.log, self.error):
            path.unlink(missing_ok=True)
        for path in (self.checkpoints, self.tensorboard, self.pictures):
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the lock dies with it and is not inherited by loading workers.

        Raises:
            UserError: another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another process is working in {self.path}", "wait for it, or give this run a place of its own"
                ) from None
            yield


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all; not-a-number is refused, for JSON has none."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def shown(path: Path) -> str:
    """A path as short as it can be typed from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
