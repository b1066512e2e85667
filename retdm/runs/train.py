"""Train a run: from its settings to a finished folder, from wherever it stands."""

import contextlib
import json
import logging
import time
from functools import cache
from typing import Any, NamedTuple

from retdm.data.base_module import Data
from retdm.data.modules import BagData, ImageData
from retdm.decisions.calibration import in_words
from retdm.display.screen import muted
from retdm.display.text import printable
from retdm.errors import UserError
from retdm.files import write_json
from retdm.methods.deep import DeepMethod
from retdm.methods.fitted import FittedMethod
from retdm.runs import build
from retdm.runs.advice import (
    check_promise_of,
    say_first_choice,
    warn_of_random_features,
    warn_of_result,
    warn_of_training_labels,
)
from retdm.runs.distributed import broadcast, together
from retdm.runs.evaluate import intervals_and_bands, label_counts, write_predictions
from retdm.runs.folder.logs import error_file, log_hparams, logging_to
from retdm.runs.folder.paths import RunFolder, check_split, check_state, read_config, shown
from retdm.runs.folder.plan import chosen_on_before, plan, threshold_before
from retdm.runs.folder.provenance import provenance, rounds_differently
from retdm.runs.folder.rows import read_chosen_on, write_chosen_on
from retdm.runs.folder.saved import write_decision
from retdm.runs.images import write_mistakes
from retdm.runs.process import is_deterministic, prepare_process, repeatable
from retdm.runs.train_deep import train_deep
from retdm.runs.train_fitted import train_fitted
from retdm.runs.trainer import logger_settings, processes
from retdm.settings.devices import count_of, device_name
from retdm.settings.run_settings import RunSettings
from retdm.stop import StopRequest, is_leader, listening
from retdm.training.pictures.images import draw_heat_maps
from retdm.training.pictures.png import write_picture
from retdm.training.schedule_rules import RULES

log = logging.getLogger("retdm")


class Trained(NamedTuple):
    """A finished run.

    Attributes:
        folder: of the run.
        title: data, method, backbone and split in one line.
        report: the content of ``metrics.json``; None where the run was finished before, and in all processes of a run
            but the first.
    """

    folder: RunFolder
    title: str
    report: dict[str, Any] | None


def train_run(settings: RunSettings, *, in_sweep: bool = False) -> Trained:
    """Train one run to its end, from where it stands.

    Args:
        settings: of the run.
        in_sweep: it is one of many: a fitted run shows its warnings alone, and data is compared with that of finished
            runs once.

    Raises:
        UserError: something in settings or data is wrong; it stands in the folder's ``error.txt`` too.
        Stopped: a signal came; the same settings continue.
    """
    prepare_process()
    build.check_takes(settings)
    # A missing GPU or package, and values that do not go together, are reported before anything is read.
    _, devices, nodes, _ = processes(settings)
    logger_settings(settings).check()
    if settings.optimizer:
        build.optimizer_settings(settings)
    if _is_fitted(settings) and (count := nodes * count_of(devices)) > 1:
        raise UserError(
            f"{settings.choices['method']} is fitted by one process, not by {count}",
            "trainer.devices=1; it uses all cores",
        )
    folder, title, report = RunFolder(settings.folder.absolute()), _title(settings), None
    with contextlib.ExitStack() as held:
        request = held.enter_context(listening())
        request.continues = True
        held.enter_context(repeatable(settings.trainer))
        todo = before = None
        if is_leader():
            held.enter_context(folder.locked())
            before = read_config(folder).get("provenance") if folder.config.exists() else None
            todo = plan(folder, settings)
            if todo == "finished":
                _compare_data(folder, settings, in_sweep)
        held.enter_context(error_file(folder))
        held.enter_context(together(settings.trainer, request))
        todo = broadcast(todo)
        if todo != "finished":
            # A fitted run of a sweep takes seconds: its line at the end is enough.
            held.enter_context(logging_to(folder, quiet=in_sweep and _is_fitted(settings)))
            if todo == "continue" and is_deterministic(settings.trainer):
                _warn_of_other_rounding(before)
            log.info("%s   %s", title, shown(folder.path))
            report = _train(folder, settings, request, resume=todo == "continue")
    return Trained(folder, title, report)


def _title(settings: RunSettings) -> str:
    names = settings.choices
    title = f"{names['data']} · {names['method']} · {settings.network} · split {settings.split}"
    return title + (f" · fold {settings.data['fold']}" if settings.data.get("folds") else "")


def _warn_of_other_rounding(before: Any) -> None:
    """Warn where a run is continued by something that rounds in another way: it would end with other last digits."""
    if changed := rounds_differently(before, provenance()):
        log.warning(
            "continued with another %s: the last digits may differ from those of a run that was never stopped",
            ", ".join(changed),
        )


def _compare_data(folder: RunFolder, settings: RunSettings, in_sweep: bool) -> None:
    """Raise ``UserError`` if the data of a finished run has changed; data that is no longer there is not compared."""
    try:
        with muted("retdm", below=logging.ERROR):  # warnings about the data came when it was trained on
            state = (
                _state_in_sweep(json.dumps(settings.data), settings.classes["data"])
                if in_sweep
                else build.state_of_data(settings)
            )
    except (UserError, OSError) as error:
        reason = error.message if isinstance(error, UserError) else str(error)
        print(printable(f"its data cannot be compared: {reason}"))
        return
    check_state(folder, state)


@cache
def _state_in_sweep(data: str, kind: Any) -> dict[str, str]:
    return build.state_of_data(RunSettings(json.loads(data), {}, {"data": kind}))


def _train(folder: RunFolder, settings: RunSettings, request: StopRequest, *, resume: bool) -> dict[str, Any] | None:
    """Train, evaluate and write the folder; None in all processes but the first."""
    started = time.monotonic()
    # The method is built before the images are decoded, so that its errors come first.
    source = build.open_source(settings)
    # A frozen backbone may have to compute features again, whatever a checkpoint brings.
    load = not resume or settings.precompute or _is_fitted(settings)
    method = build.build_method(settings, list(source.names), dim=build.dim_of(source), load=load)
    refit = settings.refit and isinstance(method, DeepMethod)
    threshold = _threshold_of_refit(settings, method) if refit and not resume else None
    chosen_on = (read_chosen_on(folder) if resume else chosen_on_before(settings)) if refit else None
    data: Data = build.build_data(settings, source)
    splits = ", ".join(f"{name} {len(rows):,}" for name, rows in data.splits.items())
    kind = "bags" if isinstance(data, BagData) else "images"
    log.info("%d %s: %s; labels: %s", len(data.source), kind, splits, ", ".join(data.labels))
    say_first_choice(settings, data)
    warn_of_random_features(settings)
    check_promise_of(settings, method, data)
    if is_leader():
        folder.checkpoints.mkdir(exist_ok=True)
        _write_split(folder, data.manifest)
        if chosen_on is not None and not resume:
            write_chosen_on(folder, chosen_on, data.labels)
    counts = label_counts(data)
    if refit:
        data = data.trained_on_validation()
        log.info("refit: trains on %d images, those of validation too", len(data.splits["train"]))
    if not resume and is_leader():
        warn_of_training_labels(settings, method, data)
    data = build.precompute(settings, data, method)
    with logger_settings(settings).opened(folder.path) as logger:
        if isinstance(method, DeepMethod):
            before = {"criteria": None, "threshold": threshold} if refit else None
            report = train_deep(folder, settings, data, method, request, logger, before, chosen_on, resume=resume)
        else:
            assert isinstance(method, FittedMethod)
            report = train_fitted(folder, settings, data, method, logger)
        if not is_leader():
            return None
        log_hparams(logger, settings, report)
    report["seconds_in_all"] = time.monotonic() - started
    report |= {"images": len(data.source), "label_counts": counts, "device": device_name(method.device)}
    if (how := report["decision"].get("calibration")) is not None:
        log.info("scores are calibrated: %s", in_words(how, data.labels))
    folder.check_there()
    rows = write_predictions(folder, report, data.labels)
    report |= intervals_and_bands(rows, report["decision"], data.labels, counts["train"])
    write_mistakes(folder, data, rows, report["decision"])
    if method.scores_instances and isinstance(data, ImageData):
        figure = draw_heat_maps(method, data, "test", "test images, by the weights that were evaluated")
        write_picture(folder.pictures / "heat_maps.png", figure)
    warn_of_result(method, data, report)
    write_decision(folder.best, report)
    write_json(folder.metrics, report)
    return report


def _is_fitted(settings: RunSettings) -> bool:
    return issubclass(settings.classes["method"], FittedMethod)


def _threshold_of_refit(settings: RunSettings, method: Any) -> float | None:
    """The threshold of a network that is trained on the validation split too, which can then choose nothing."""
    if watching := [stage.name for stage in method.stages if RULES[stage.rule].needs_validation]:
        raise UserError(
            f"refit=true: stage {watching[0]} ends by its validation split, on which it would be trained",
            f"schedule.{watching[0]}.rule=one_cycle, and the number of epochs that validation chose",
        )
    if method.chooses_on_validation:
        raise UserError(
            "refit=true: method.mixture=null is chosen on the validation split, on which it would be trained",
            "method.mixture=<share of the classifier, 0 to 1>",
        )
    return threshold_before(settings)


def _write_split(folder: RunFolder, manifest: dict[str, Any]) -> None:
    """Write the manifest at the first start; later, check that the data still gives it."""
    if folder.split.exists():
        check_split(folder, manifest)
    else:
        write_json(folder.split, manifest)
