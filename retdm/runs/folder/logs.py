"""Records of a run: ``log.txt``, ``error.txt``, and its settings beside its criteria where a logger takes them."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger

from retdm.display.screen import Printable, Screen
from retdm.files import write_text
from retdm.runs.errors import as_user_error
from retdm.runs.folder.paths import RunFolder
from retdm.settings.plain import flat
from retdm.settings.run_settings import RunSettings
from retdm.stop import is_leader


class _LogFile(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Do nothing: a full disk is reported once, by what cannot go on without it."""


@contextlib.contextmanager
def logging_to(folder: RunFolder, *, quiet: bool) -> Iterator[None]:
    """Log the block to ``log.txt`` and to the screen, by the first process alone; ``quiet`` shows warnings alone."""
    if not is_leader():
        logging.getLogger("retdm").addHandler(logging.NullHandler())  # or warnings would come from each process
        yield
        return
    screen, file = Screen(sys.stdout), _LogFile(folder.log)
    file.setFormatter(Printable("%(asctime)s %(levelname)s %(message)s"))
    screen.setLevel(logging.WARNING if quiet else logging.INFO)
    logger = logging.getLogger("retdm")
    logger.setLevel(logging.INFO)
    propagated, logger.propagate = logger.propagate, False
    for handler in (screen, file):
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in (screen, file):
            logger.removeHandler(handler)
        logger.propagate = propagated
        with contextlib.suppress(OSError):  # the same full disk
            file.close()


@contextlib.contextmanager
def error_file(folder: RunFolder) -> Iterator[None]:
    """Write an error that ends the block to the folder's ``error.txt``; a request to stop is not an error.

    Where the folder is gone, that is the error.
    """
    try:
        yield
    except Exception as error:
        if is_leader():
            folder.check_there()
            known = as_user_error(error)
            with contextlib.suppress(OSError):
                write_text(folder.error, f"{known or f'{type(error).__name__}: {error}'}\n")
        raise


def log_hparams(logger: Logger | None, settings: RunSettings, report: dict[str, Any]) -> None:
    """Settings beside the test criteria, for the logger: an entry of TensorBoard's HPARAMS.

    TensorBoard sorts settings by name and shows the first ones: the numbers put those first by which runs differ.
    """
    names, split = settings.choices, settings.split
    first = {"1 method": names["method"], "2 data": names["data"], "3 split": split, "4 backbone": names["backbone"]}
    groups = {key: getattr(settings, key) for key in ("data", "augment", "backbone", "method", "optimizer", "seed")}
    values = {name: value for name, value in flat(groups) if not isinstance(value, Mapping)}
    hparams = first | {
        name: value if isinstance(value, int | float | str | bool) else str(value)
        for name, value in values.items()
        if not name.endswith("._target_")
    }
    metrics = {f"test/{name}": value for name, value in report["test"].items() if value is not None}
    if isinstance(logger, TensorBoardLogger):
        logger.log_hyperparams(hparams, metrics)
    elif logger is not None:
        logger.log_hyperparams(hparams)
        logger.log_metrics(metrics)
    if logger is not None:
        logger.finalize("success")
