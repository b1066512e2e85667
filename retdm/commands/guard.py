"""The end of every command: its own output, one message, or a signal."""

import os
import sys
import threading
from collections.abc import Callable

from retdm.commands.output.streams import lasting
from retdm.runs.errors import as_user_error, report
from retdm.stop import Stopped, is_leader, listening


def guarded(command: Callable[[], None]) -> None:
    """Run a command; an error that the user can mend, and a request to stop, end in one message and a non-zero exit.

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
            request.report(stopped.number)
            sys.exit(stopped.exit_code)
        except Exception as error:
            known = as_user_error(error)
            if known is None:
                raise
            if is_leader():
                report(known)
            sys.exit(2)


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread; what stops it, a full disk or a folder that was removed, stops the run too, which
    will report it."""
    error = failed.exc_value or Exception()
    if as_user_error(error) is None and not isinstance(error, FileNotFoundError):
        threading.__excepthook__(failed)
