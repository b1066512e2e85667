"""Fit a method on precomputed features or bags, and evaluate it."""

import logging
import time
from typing import Any

from pytorch_lightning.loggers import Logger

from retdm.data.base_module import Data
from retdm.methods.fitted import FittedMethod
from retdm.runs.build import describe
from retdm.runs.evaluate import GIVEN, evaluate_method, evaluate_validation
from retdm.runs.folder.paths import RunFolder
from retdm.runs.folder.rows import BEFORE_REFIT, VALIDATION, ChosenOn
from retdm.runs.folder.saved import weights_into
from retdm.runs.images import write_shown
from retdm.settings.devices import device_of
from retdm.settings.run_settings import RunSettings
from retdm.training.checkpoint_files import save_fitted
from retdm.training.inference import predict
from retdm.training.pictures.callback import draw_pictures

log = logging.getLogger("retdm")


def train_fitted(
    folder: RunFolder, settings: RunSettings, data: Data, method: FittedMethod, logger: Logger | None
) -> dict[str, Any]:
    """Fit on the training split, evaluate on validation; with ``refit`` fit on both; evaluate on test.

    Args:
        folder: of the run.
        settings: of the run.
        data: bags, or images with features.
        method: whose backbone has its weights.
        logger: of the run's pictures.

    Returns:
        The report, see :func:`retdm.runs.evaluate.evaluate_method`, with the method's own details and ``seconds``.
    """
    method.to(device_of(settings.trainer))
    started = time.monotonic()
    method.fit(*data.examples("train"))
    seconds = time.monotonic() - started
    rows = predict(method, data, "validation")
    chosen_on = ChosenOn(rows, BEFORE_REFIT if settings.refit else VALIDATION)
    validation = evaluate_validation(rows, method, chosen_on)
    draw_pictures(folder.pictures, method, data, rows, logger=logger)  # before it is fitted on validation too
    if settings.refit:
        if settings.threshold is not None:
            validation |= {"threshold": settings.threshold, "chosen_on": GIVEN}
        started = time.monotonic()
        method.fit(*data.trained_on_validation().examples("train"))
        seconds += time.monotonic() - started
    log.info("fitted in %.1f s", seconds)
    description = describe(settings, method, data.dim, validation if settings.refit else None)
    save_fitted(method, description, folder.best)
    folder.last.unlink(missing_ok=True)
    folder.last.hardlink_to(folder.best)
    weights_into(method, folder.best, settings.identity)  # what is on disk is evaluated
    report = evaluate_method(method, data, validation, chosen_on)
    if method.explains:
        report["predictions"] |= method.explain(data.examples("test")[0])
        write_shown(folder, data, report["predictions"])
    details = method.details()
    assert not report.keys() & details.keys(), "a method's details would take the place of what every report has"
    return {**report, **details, "stages": [], "seconds": seconds}
