"""Names of everything a run leaves, and how it is written."""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

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

    def leavings(self) -> list[Path]:
        """What lies there of all that a run writes after its ``config.yaml``."""
        files = (
            self.metrics,
            self.split,
            self.test,
            self.predictions,
            self.checkpoints,
            self.tensorboard,
            self.pictures,
        )
        return [path for path in files if path.exists()]

    def clear(self) -> None:
        """Remove what a run left, and nothing else that lies there."""
        # metrics.json first: a clearing that is interrupted must not look finished. config.yaml last: it tells a run.
        for path in (*self.leavings(), self.log, self.error, self.config):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the lock dies with it and is not inherited by loading workers.

        Raises:
            UserError: another process holds it, or there can be no such folder.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / ".lock").open("w")
        except OSError as error:
            raise UserError(
                f"the run folder cannot be written: {self.path}: {error.strerror}",
                "choose another place: outputs=<folder> or run=<folder>",
            ) from error
        with file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another process is working in {self.path}", "wait for it, or give this run a place of its own"
                ) from None
            yield


def read_config(folder: RunFolder) -> dict[str, Any]:
    """What ``config.yaml`` holds: the settings, their identity and provenance.

    Raises:
        UserError: there is none, or it is not a run's.
    """
    if not folder.config.exists():
        raise UserError(f"there is no run in {folder.path}", "run=<folder> that train.py wrote, with its config.yaml")
    try:
        content: Any = yaml.safe_load(folder.config.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        content = None
    if not isinstance(content, dict) or "identity" not in content:
        raise UserError(f"{folder.config} is not a run's config.yaml", "give the folder of a run that train.py wrote")
    return content


def check_split(folder: RunFolder, manifest: dict[str, Any]) -> None:
    """The data gives the split that the run was made with.

    Raises:
        UserError: it gives another, so it is other data.
    """
    if json.loads(folder.split.read_text()) != json.loads(json.dumps(manifest)):
        raise UserError(
            f"the data is not what {shown(folder.path)} was made with: its split.json is another",
            "put the data back as it was (data.root=<folder>), or train anew with overwrite=true",
        )


def shown(path: Path) -> str:
    """A path as short as it can be typed from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
