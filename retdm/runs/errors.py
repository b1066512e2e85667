"""Errors that are the user's to mend: at most six lines, no traceback, exit code 2."""

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from retdm.errors import UserError
from retdm.runs.hydra_messages import NO_NAME, explained
from retdm.runs.streams import lasting
from retdm.stop import Stopped, is_leader, listening
from retdm.text import printable

DISK_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR
}  # fmt: skip
# What joblib and submitit raise where a job could not start or died: out of memory, of time, a machine gone.
LOST_JOBS = {"TerminatedWorkerError", "FailedJobError", "UncompletedJobError"}


def as_user_error(error: BaseException) -> UserError | None:
    """What to tell the user, or None where the error is a bug of ours."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, HydraException | OmegaConfBaseException) or str(error).startswith(NO_NAME):
        return explained(error)
    if type(error).__name__ in LOST_JOBS:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return UserError(
            f"a job of the sweep was lost: {' '.join(lines[:2])}",
            "the same command runs what is missing, and shows them all",
        )
    if lost := [str(each) for each in _chain(error) if str(each).startswith("DataLoader worker")]:
        # Raised by a signal's handler wherever the process was: what was at work may have made another error of it.
        return UserError(
            f"a loading process was lost: {lost[0].splitlines()[0].removeprefix('DataLoader worker ').rstrip(' .')}",
            "the machine may be short of memory; data.workers=<fewer>, or 0; the same command continues",
        )
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        place = error.filename2 or error.filename or "a file of the run"
        return UserError(
            f"cannot write {place}: {os.strerror(error.errno)}",
            "make room or choose another place: outputs=<folder>, data.cache=<folder>",
        )
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it came from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def report(error: UserError) -> None:
    """Print it, in at most six lines."""
    lines = [f"error: {error.message}", *([f"  {error.hint}"] if error.hint else [])]
    print("\n".join(map(printable, "\n".join(lines).splitlines()[:6])), file=sys.stderr, flush=True)


def guarded(command: Callable[[], None]) -> None:
    """Run a command; what the user can mend, and a request to stop, end in one message and a non-zero exit.

    Inside and around Hydra: it writes lines of its own about an error that passes through it, and a wrong setting is
    met before the inside begins.
    """
    # Hydra would print its own, longer message and exit by itself.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # PyTorch's C++ warns of parameters that no step leaves out, and of each lost connection; read at its import.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    threading.excepthook = _thread_failed
    with listening() as request, lasting():
        try:
            command()
        except Stopped as stopped:
            request.tell(stopped.number)
            sys.exit(stopped.exit_code)
        except Exception as error:
            told = as_user_error(error)
            if told is None:
                raise
            if is_leader():
                report(told)
            sys.exit(2)


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread; what stops it, a full disk or a folder that was removed, stops the run too, which
    will tell of it."""
    error = failed.exc_value or Exception()
    if as_user_error(error) is None and not isinstance(error, FileNotFoundError):
        threading.__excepthook__(failed)
