"""Atomic writes, which a kill or a power cut leaves complete or undone, and locks that end with their holder."""

import fcntl
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

PART = ".part"  # the ending of a file that is being written


def part_of(path: Path) -> Path:
    """The place of a file until it is complete: ``<name>.part`` beside its own."""
    return path.with_name(path.name + PART)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A place to write a file, which is renamed to ``path`` when the block ends; see :func:`all_or_none`."""
    with all_or_none([path]) as (part,):
        yield part


@contextmanager
def all_or_none(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Places to write files that belong together, beside their own; they get their names when the block ends.

    The content of all is on the disk before the first is renamed, or a power cut could leave a name without content.
    After an error the old files stand and the new ones are removed; the error of a full disk names a file.
    """
    parts = list(map(part_of, paths))
    for part in parts:
        part.parent.mkdir(exist_ok=True)  # not all above it: a run folder that was removed stays removed
        part.unlink(missing_ok=True)  # a link there would be written through
    try:
        yield parts
        put(dict(zip(parts, paths, strict=True)))
    except BaseException as error:
        for part in parts:
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(paths[0])  # a failed write has no name
        raise


def put(places: Mapping[Path, Path]) -> None:
    """Rename complete files to their places, once the content of all is on the disk."""
    for part in places:
        _sync(part)
    for part, path in places.items():
        part.replace(path)
    for folder in {path.parent for path in places.values()}:
        _sync(folder)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError:
        if not path.is_dir():  # some file systems cannot sync a folder
            raise
    finally:
        os.close(opened)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as part:
        part.write_text(text)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically; ValueError for NaN and infinity, which JSON does not have."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def damaged_record(path: Path) -> str | None:
    """The name of the first damaged record of a zip archive, such as a PyTorch checkpoint; None where all are sound.

    Each record has a CRC-32, which PyTorch writes and does not compare on reading.

    Raises:
        OSError, zipfile.BadZipFile, ValueError: the archive's own structure is damaged, or the file is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        try:
            return archive.testzip()
        except (NotImplementedError, EOFError, zlib.error) as error:  # flags or compressed bytes that nobody wrote
            raise zipfile.BadZipFile(str(error)) from error


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Let one process at a time into the block, of all that lock the same ``path``; the lock ends with its holder.

    Raises:
        BlockingIOError: another process has the lock, and ``wait`` is false.
    """
    while True:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            try:
                if os.fstat(file.fileno()).st_nlink:  # else its last holder has removed it, and it locks nothing
                    yield
                    return
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # for forked processes too, where closing would not


def shared(path: Path) -> BinaryIO:
    """Open ``path`` for reading; while it is open, here or in a forked process, no other process can lock it.

    Raises:
        FileNotFoundError: it does not exist, or was removed while this process waited for its lock.
    """
    file = path.open("rb")
    fcntl.flock(file, fcntl.LOCK_SH)
    if not os.fstat(file.fileno()).st_nlink:
        file.close()
        raise FileNotFoundError(f"{path} was removed")
    return file


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal; read again only when the file has changed."""
    status = path.stat()
    return _file_hash(path, status.st_ino, status.st_size, status.st_mtime_ns)


@cache
def _file_hash(path: Path, *status: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
