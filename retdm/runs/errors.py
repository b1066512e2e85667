"""Errors that are the user's to mend: at most six lines, no traceback, exit code 2."""

import errno
import os
import sys
from collections.abc import Iterator

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from retdm.display.text import printable
from retdm.errors import UserError
from retdm.settings.hydra_messages import NO_NAME, explained

DISK_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR
}  # fmt: skip
# What joblib and submitit raise where a job could not start or died: out of memory, of time, a machine gone.
LOST_JOBS = {"TerminatedWorkerError", "FailedJobError", "UncompletedJobError"}


def as_user_error(error: BaseException) -> UserError | None:
    """The error as one that the user can mend; None where it is a bug of ours."""
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
        # Raised by a signal's handler wherever the process was; the code there may have raised another error from it.
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
    """An error, its cause, the cause of that, and so on."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def report(error: UserError) -> None:
    """Print an error in at most six lines."""
    lines = [f"error: {error.message}", *([f"  {error.hint}"] if error.hint else [])]
    print("\n".join(map(printable, "\n".join(lines).splitlines()[:6])), file=sys.stderr, flush=True)
