"""How checkpoints reach the disk."""

from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO

from retdm.files import atomic


class _Sink:
    """A binary file for PyTorch's writers; a write that fails is kept for :meth:`finish`.

    They write from C++, where an error of a full disk ends the process.
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
        """Nothing: :meth:`finish` does it."""

    def finish(self) -> None:
        """All is written, or the first error is raised."""
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
    """Lightning's checkpoints by :func:`save`; its own way copies each to the system's temporary folder first."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save(checkpoint, Path(path))
