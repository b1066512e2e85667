"""Standard output and error that a command outlives: `| head`, a closed terminal, a full disk behind `>`."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class Lasting:
    """A text stream; from the first write that fails on, what is written goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:
            if isinstance(error, UnicodeError):
                raise
            self._lose()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._lose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere, self._stream.fileno())  # what is buffered still, and what libraries write
        os.close(nowhere)


@contextlib.contextmanager
def lasting() -> Iterator[None]:
    """Both streams outlive their readers in this block; where one was closed before, it leads nowhere."""
    with open(os.devnull, "w") as nowhere:
        out, err = (cast(TextIO, Lasting(stream or nowhere)) for stream in (sys.stdout, sys.stderr))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield
