"""Files that are there whole or not at all, after a kill and a power cut; locks that end with their holder."""

import fcntl
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Where to write a file so that it is there whole or not at all: beside its place, renamed when the block ends.

    File and folder are on the disk by then. After an error nothing is left of what was written; that of a full disk
    names the file.
    """
    path.parent.mkdir(exist_ok=True)  # not all above it: a run folder that was removed stays removed
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # not written through, were it a link
    try:
        yield part
        put(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)  # a write that fails knows none
        raise


def put(part: Path, path: Path) -> None:
    """Rename a written file to its place; a name in the folder and a file of no bytes is what a power cut would leave
    of a rename whose content was not on the disk before."""
    _sync(part)
    part.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError:
        if not path.is_dir():  # of folders some file systems know no such thing
            raise
    finally:
        os.close(opened)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with atomic(path) as part:
        part.write_text(text)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all; not-a-number is refused, for JSON has none."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def damaged_record(path: Path) -> str | None:
    """The first record of a zip archive, as PyTorch's checkpoints are, that is not what was written.

    Each record carries its CRC-32, which PyTorch writes and does not compare on reading.

    Raises:
        OSError, zipfile.BadZipFile, ValueError: the archive's own frame is damaged, or there is none.
    """
    with zipfile.ZipFile(path) as archive:
        try:
            return archive.testzip()
        except (NotImplementedError, EOFError, zlib.error) as error:  # flags or compressed bytes that nobody wrote
            raise zipfile.BadZipFile(str(error)) from error


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Only one process at a time is inside, over all that use the same ``path``; the lock ends with its holder.

    Raises:
        BlockingIOError: another process is inside, and ``wait`` is false.
    """
    while True:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            try:
                if os.fstat(file.fileno()).st_nlink:  # else who had it before has removed it, and it locks nothing
                    yield
                    return
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # of forked processes too, which closing alone would not


def shared(path: Path) -> BinaryIO:
    """``path`` opened for reading; as long as it is open, here or in a forked process, no other can lock it.

    Raises:
        FileNotFoundError: it is not there, or was removed while this process waited for who had locked it.
    """
    file = path.open("rb")
    fcntl.flock(file, fcntl.LOCK_SH)
    if not os.fstat(file.fileno()).st_nlink:
        file.close()
        raise FileNotFoundError(f"{path} was removed")
    return file
