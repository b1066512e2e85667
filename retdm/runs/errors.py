"""Errors that are the user's to mend: at most six lines, no traceback, exit code 2."""

import errno
import os
import sys
from collections.abc import Callable

from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from retdm.errors import UserError
from retdm.runs.names import nearest
from retdm.training.resume import Stopped

DISK_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT}


def as_user_error(error: BaseException) -> UserError | None:
    """What to tell the user, or None where the error is a bug of ours."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = list(error.options or [])
        return UserError(f"there is no {group or 'config'} named {name}", nearest(name, options))
    if isinstance(error, HydraException | OmegaConfBaseException):
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith(("full_key", "object_type", "Set the environment"))]
        return UserError(" ".join(lines[:3]), "python train.py --help lists what can be chosen")
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return UserError(
            f"cannot write {error.filename or 'a file of the run'}: {os.strerror(error.errno)}",
            "make room or choose another place: outputs=<folder>, data.cache=<folder>",
        )
    return None


def report(error: UserError) -> None:
    """Print it, in at most six lines."""
    lines = [f"error: {error.message}", *([f"  {error.hint}"] if error.hint else [])]
    print("\n".join("\n".join(lines).splitlines()[:6]), file=sys.stderr, flush=True)


def guarded(command: Callable[[], None]) -> None:
    """Run a command; what the user can mend ends in one message and a non-zero exit."""
    # Hydra would print its own, longer message and exit by itself.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        command()
    except Stopped as stopped:
        if is_leader():
            print(f"stopped by {stopped}; the same command continues", file=sys.stderr, flush=True)
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        told = as_user_error(error)
        if told is None:
            raise
        if is_leader():
            report(told)
        sys.exit(2)


def is_leader() -> bool:
    """Whether this process is the first of those that share a run."""
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"))
