"""Who may touch a file: one process that writes, or many that read."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
