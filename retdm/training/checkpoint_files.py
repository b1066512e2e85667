"""Checkpoint files: written whole or not at all, read without executing anything in them."""

from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO

from retdm.errors import UserError
from retdm.files import atomic, damaged_record
from retdm.methods.base import Method


class _Sink:
    """A binary file for PyTorch's writers; the error of a write is raised by :meth:`finish` alone.

    They write from C++, where the error of a full disk would end the process.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: OSError | None = None

    def write(self, content: Any) -> int:
        if self._error is None:
            try:
                self._file.write(content)
            except OSError as error:
                self._error = error
        return len(content)

    def flush(self) -> None:
        """Do nothing: :meth:`finish` flushes."""

    def finish(self) -> None:
        """Raise the first error, or flush."""
        if self._error is None:
            self._file.flush()
        else:
            raise self._error


def save(content: dict[str, Any], path: Path) -> None:
    """A checkpoint, whole or not at all, written beside its place."""
    with atomic(path) as part, part.open("wb") as file:
        sink = _Sink(file)
        torch.save(content, cast(IO[bytes], sink))
        sink.finish()


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's checkpoints by :func:`save`; its own way copies each to the system's temporary folder first.

    Args:
        description: plain values that each holds beside the weights, under ``retdm``.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        super().__init__()
        self.description = description

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save({**checkpoint, "retdm": self.description}, Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content: ``state_dict`` (tensors by name), ``retdm`` (the method's description) and the state of
    training. Nothing in it is executed; every record is compared with its checksum.

    Raises:
        UserError: the file is damaged, or not a checkpoint of this program.
    """
    hint = "put the file back from a copy, or train anew with overwrite=true"
    try:
        damaged = damaged_record(path)
        content: Any = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what the unpickler raises depends on the byte at which it gives up
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"the checkpoint cannot be read: {path}: {reason}", hint) from error
    if damaged:
        raise UserError(f"the checkpoint is damaged: {path}: {damaged} is not what was written", hint)
    state, description = (content.get(key) if isinstance(content, dict) else None for key in ("state_dict", "retdm"))
    tensors = isinstance(state, dict) and all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    described = isinstance(description, dict) and all(
        isinstance(description.get(key), dict) for key in ("settings", "identity")
    )
    if not (tensors and described):
        raise UserError(f"{path} is not a checkpoint of retdm", "give the folder of a run")
    return cast(dict[str, Any], content)


def save_fitted(method: Method, description: dict[str, Any], path: Path) -> None:
    """A checkpoint of a method that no trainer trained, whole or not at all."""
    content: dict[str, Any] = {"state_dict": method.state_dict(), "epoch": 0, "global_step": 0}
    content["pytorch-lightning_version"] = version("pytorch-lightning")
    save({**content, "retdm": description}, path)
