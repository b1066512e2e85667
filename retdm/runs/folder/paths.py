"""A run's folder: names of its files, its lock, and the reading of its small files."""

import fcntl
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

import yaml

from retdm.errors import UserError

SWEEP = "RETDM_SWEEP"  # in the environment of a sweep's jobs where overwrite=true: which sweep clears
MOST_NODES, MOST_BYTES = 100_000, 1_000_000  # of a config.yaml; a run's own has some hundred nodes
BACK = "put the data back as it was (data.root=<folder>), or train anew with overwrite=true"
STATE = {"images": "fingerprint", "labels": "labels"}  # keys of a manifest that identify the data
METRICS: dict[str, type | UnionType] = {
    "test": dict,
    "validation": dict | NoneType,
    "test_validation_threshold": dict | NoneType,
    "per_label": dict,
    "seconds": int | float,
}


class Busy(UserError):
    """Another process is working in a run folder."""


class RunFolder:
    """A run's folder. ``metrics.json`` is written last: its presence means finished."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.split = self.path / "split.json"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"
        self.last = self.checkpoints / "last.ckpt"
        self.start = self.checkpoints / "start.ckpt"  # weights where gradient training began, see runs/start.py
        self.end = self.checkpoints / "end.ckpt"  # weights where it ended, before they were averaged with the start
        self.metrics = self.path / "metrics.json"
        self.test = self.path / "test.json"
        self.predictions = self.path / "predictions.npz"
        self.validation = self.path / "validation.npz"  # what a decision rule chooses on, see runs/folder/rows.py
        self.decide = self.path / "decide.json"  # what other rules would have given, see commands/decide.py
        self.history = self.path / "history.jsonl"
        self.loggers = [
            self.path / name for name in ("tensorboard", "csv", "wandb", "mlruns")
        ]  # see training/loggers.py
        self.pictures = self.path / "pictures"
        self.mistakes = self.pictures / "mistakes"  # the test images that were decided worst, <index>.jpg
        self.nearest = self.mistakes / "nearest.json"  # the training images nearest to these, see runs/images.py
        self.page = self.path / "report.html"
        self.log = self.path / "log.txt"
        self.error = self.path / "error.txt"

    @property
    def finished(self) -> bool:
        """``metrics.json`` is there, and complete: an empty file finishes nothing."""
        try:
            return read_metrics(self) is not None
        except UserError:
            return False

    @property
    def begun(self) -> bool:
        """There is more of a run than its settings, log and error."""
        return bool(set(self.artifacts()) - {self.log, self.error})

    def artifacts(self) -> list[Path]:
        """All there is of what a run writes after its ``config.yaml``."""
        files = (
            self.metrics,
            self.split,
            self.test,
            self.predictions,
            self.validation,
            self.decide,
            self.checkpoints,
            self.history,
            *self.loggers,
            self.pictures,
            self.page,
            self.log,
            self.error,
        )
        return [path for path in files if path.exists() or path.is_symlink()]

    def clear(self) -> None:
        """Remove what a run left, and nothing else that lies there.

        Raises:
            OSError: something cannot be removed.
        """
        # metrics.json first: a clearing that is interrupted must not look finished. config.yaml last: it marks a run.
        for path in (*self.artifacts(), self.config):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def check_there(self) -> None:
        """Raise ``UserError`` where somebody has removed the folder, or its config, while its run was training."""
        if not self.config.exists():
            raise UserError(
                f"{shown(self.path)} was removed while the run was at work", "the same command starts it anew"
            )

    def busy(self) -> bool:
        """Another process works in it."""
        if not self.path.is_dir():
            return False
        try:
            with self.locked():
                return False
        except Busy:
            return True

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the lock dies with it and is not inherited by loading workers.

        Raises:
            Busy: another process holds it.
            UserError: there can be no such folder.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # No link is followed: a folder that somebody else made may contain a link to a file of the user.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.fdopen(os.open(self.path / ".lock", flags, 0o666), "r+")
        except OSError as error:
            raise UserError(
                f"the run folder cannot be written: {self.path}: {error.strerror}",
                "choose another place: outputs=<folder> or run=<folder>",
            ) from error
        with file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(
                    f"another process is working in {self.path}", "wait for it, or give this run a place of its own"
                ) from None
            yield


class _Plain(yaml.SafeLoader):
    """YAML as a run writes it: no merge keys, and no more than MOST_NODES values once its aliases are followed.

    A few hundred bytes of aliases of aliases would otherwise stand for more values than fit into memory.
    """

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _nodes(node, {}) > MOST_NODES:
            raise yaml.YAMLError("more values than a configuration has")
        return node


def _nodes(node: yaml.Node, counted: dict[int, float]) -> float:
    """Number of nodes with all aliases followed; infinite where one leads back to itself."""
    if isinstance(node, yaml.ScalarNode):
        return math.inf if node.tag == "tag:yaml.org,2002:merge" else 1
    if id(node) not in counted:
        counted[id(node)] = math.inf
        inner = node.value if isinstance(node, yaml.SequenceNode) else [each for pair in node.value for each in pair]
        counted[id(node)] = 1 + sum(_nodes(each, counted) for each in inner)
    return counted[id(node)]


def check_checkpoint(folder: RunFolder) -> None:
    """Check that the weights that were tested are there, which is all that a run needs in order to predict.

    Raises:
        UserError: they are not.
    """
    if not folder.best.exists():
        raise UserError(f"there is no checkpoint {folder.best}", "give the folder of a run")


def read_config(folder: RunFolder) -> dict[str, Any]:
    """The content of ``config.yaml``: the settings, their identity and provenance.

    Raises:
        UserError: there is none, it cannot be read, or it is not a run's.
    """
    if not folder.config.exists():
        raise UserError(f"there is no run in {folder.path}", "run=<folder> that training wrote, with its config.yaml")
    try:
        text = folder.config.read_bytes()[: MOST_BYTES + 1].decode()
        content: Any = yaml.load(text, _Plain) if len(text) <= MOST_BYTES else None
    except OSError as error:
        raise UserError(f"{folder.config} cannot be read: {error.strerror}", "it is a run's config.yaml") from error
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: no UTF-8, or a number of thousands of digits
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("identity"), dict):
        raise UserError(f"{folder.config} is not a run's config.yaml", "give the folder of a run")
    return content


def read_json(path: Path) -> Any:
    """The content of a JSON file of a run; None where there is no file.

    Raises:
        UserError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(
            f"{shown(path)} cannot be read: {error.strerror}", "move the run away, or run it anew"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{shown(path)} is not JSON: {error}", "move the run away, or run it anew") from error


def read_metrics(folder: RunFolder) -> dict[str, Any] | None:
    """The content of ``metrics.json``; None where there is none.

    Raises:
        UserError: it is not what a finished run wrote.
    """
    found = read_json(folder.metrics)
    if found is None and not folder.metrics.exists():
        return None
    if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in METRICS.items()):
        raise UserError(f"{shown(folder.metrics)} is not what a finished run wrote", "repeat the run's command")
    return found


def check_state(folder: RunFolder, state: Mapping[str, Any]) -> dict[str, Any]:
    """Check that images and labels are those that the run was made with.

    Args:
        folder: of the run.
        state: of its data now, as :func:`retdm.data.source.state_of` has it, or all of a manifest.

    Returns:
        The run's manifest.

    Raises:
        UserError: they are not, or the run has no manifest.
    """
    recorded = read_json(folder.split)
    if not isinstance(recorded, dict):
        raise UserError(f"{shown(folder.path)} has no split.json", "train anew with overwrite=true")
    changed = [what for what, key in STATE.items() if recorded.get(key) != state[key]]
    if changed:
        raise UserError(f"the {' and '.join(changed)} are not those that {shown(folder.path)} was made with", BACK)
    return recorded


def check_split(folder: RunFolder, manifest: dict[str, Any]) -> None:
    """Check that the data gives the split that the run was made with.

    Raises:
        UserError: it gives another, so it is other data.
    """
    recorded, now = (
        {key: value for key, value in each.items() if key not in STATE.values()}
        for each in (check_state(folder, manifest), json.loads(json.dumps(manifest)))
    )
    if recorded != now:
        raise UserError(f"the data is not what {shown(folder.path)} was made with: its split.json is another", BACK)


def shown(path: Path) -> str:
    """A path as short as it can be typed from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
