"""``python train.py``: train, evaluate, write the run folder; or continue, or say that it is finished."""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from pytorch_lightning import Callback
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from retdm.commands import sweep
from retdm.commands.guard import guarded
from retdm.commands.tables import line_of, print_report
from retdm.data.base import Data
from retdm.data.loader import GlobalBatches
from retdm.data.module import BagData, ImageData
from retdm.errors import UserError
from retdm.files import write_json, write_text
from retdm.methods.deep import DeepMethod
from retdm.methods.fitted import FittedMethod
from retdm.registry import PACKAGE
from retdm.runs import build
from retdm.runs.advice import warn_of_few_steps, warn_of_result
from retdm.runs.compose import settings_of
from retdm.runs.determinism import is_deterministic, repeatable
from retdm.runs.distributed import broadcast, count_of, device_of, together
from retdm.runs.errors import as_user_error
from retdm.runs.evaluate import evaluate_checkpoint, evaluate_validation, write_predictions, write_shown
from retdm.runs.folder import Busy, RunFolder, check_split, check_state, read_config, shown
from retdm.runs.plain import flat
from retdm.runs.plan import plan, threshold_before
from retdm.runs.provenance import provenance, rounds_differently
from retdm.runs.saved import weights_into
from retdm.runs.settings import RunSettings
from retdm.screen import Printable, Screen
from retdm.stop import StopRequest, is_leader, listening
from retdm.text import printable
from retdm.training.checkpoint_files import save_fitted
from retdm.training.checkpoints import Checkpoints
from retdm.training.evaluation import Evaluation
from retdm.training.inference import predict
from retdm.training.pictures.callback import Pictures, draw_pictures
from retdm.training.pictures.images import draw_heat_maps
from retdm.training.pictures.png import write_picture
from retdm.training.progress import EpochBar, EpochLines
from retdm.training.rules import RULES
from retdm.training.stages import MEASURED_ROWS, Stages

log = logging.getLogger("retdm")


def main(config: DictConfig) -> None:
    """One job of ``train.py``, alone or in a sweep."""
    guarded(lambda: _job(config))


def _job(config: DictConfig) -> None:
    hydra = HydraConfig.get()
    in_sweep = hydra.mode == RunMode.MULTIRUN
    try:
        settings = settings_of(config, dict(hydra.runtime.choices))
        if in_sweep and settings.run is not None:
            raise UserError("run=<folder> is one run's own place", "leave it out of a sweep")
        if in_sweep and sweep.needs_own_process(settings):
            with RunFolder(settings.folder).locked():
                pass  # or Busy
            sweep.run_alone(list(hydra.overrides.task))
            folder = settings.folder
        else:
            folder = train(settings, in_sweep=in_sweep)
    except Busy as error:
        if not in_sweep:
            raise
        print(f"{error.message}: what becomes of it is awaited at the end", flush=True)
        folder = settings.folder
    except Exception as error:
        # A sweep goes on after a failed job, and tells of it in its table and exit code.
        if not in_sweep:
            raise
        told = as_user_error(error)
        if told is None:
            log.exception("this job failed")
        sweep.record(hydra, None, f"{type(error).__name__}: {error}" if told is None else told.message)
        return
    if in_sweep:
        sweep.record(hydra, folder, None)


def train(settings: RunSettings, *, in_sweep: bool = False) -> Path:
    """Train one run to its end, from where it stands.

    Args:
        settings: of the run.
        in_sweep: one of many, which ends with one line; the table is the sweep's.

    Returns:
        The run's folder.

    Raises:
        UserError: something in settings or data is wrong; it stands in the folder's ``error.txt`` too.
        Stopped: a signal came; the same settings continue.
    """
    build.prepare_process()
    build.check_takes(settings)
    # A missing GPU or package is reported before anything is read.
    _, devices, nodes, _ = build.processes(settings)
    build.logger_settings(settings).check()
    if _is_fitted(settings) and (count := nodes * count_of(devices)) > 1:
        raise UserError(
            f"{settings.choices['method']} is fitted by one process, not by {count}",
            "trainer.devices=1; it uses all cores",
        )
    folder = RunFolder(settings.folder.absolute())
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
        held.enter_context(_error_file(folder))
        held.enter_context(together(settings.trainer, request))
        todo = broadcast(todo)
        if todo == "finished":
            if is_leader():
                print(f"finished already: {shown(folder.path)} (overwrite=true runs it anew)")
                print(_test_command(folder, settings), flush=True)
            return folder.path
        # A fitted run of a sweep takes seconds: its line at the end is enough.
        held.enter_context(_logging(folder, quiet=in_sweep and _is_fitted(settings)))
        if todo == "continue" and is_deterministic(settings.trainer):
            _tell_what_rounds_differently(before)
        _train(folder, settings, request, resume=todo == "continue", in_sweep=in_sweep)
    return folder.path


def _tell_what_rounds_differently(before: Any) -> None:
    """A run that would end bitwise as if never stopped is continued by what rounds in another way than ``before``."""
    if changed := rounds_differently(before, provenance()):
        log.warning(
            "continued with another %s: the last digits may differ from those of a run that was never stopped",
            ", ".join(changed),
        )


@contextlib.contextmanager
def _error_file(folder: RunFolder) -> Iterator[None]:
    """An error that ends the block stands in the folder's ``error.txt``; a request to stop is none.

    Where the folder is gone, that is the error.
    """
    try:
        yield
    except Exception as error:
        if is_leader():
            folder.check_there()
            told = as_user_error(error)
            with contextlib.suppress(OSError):
                write_text(folder.error, f"{told or f'{type(error).__name__}: {error}'}\n")
        raise


def _compare_data(folder: RunFolder, settings: RunSettings, in_sweep: bool) -> None:
    """The data of a finished run is what it was made with, unless it is there no more. Raises ``UserError``."""
    logger = logging.getLogger("retdm")
    level = logger.level
    logger.setLevel(logging.ERROR)  # what is to be said of the data was said when it was trained on
    try:
        state = (
            _state_in_sweep(json.dumps(settings.data), settings.classes["data"])
            if in_sweep
            else build.state_of_data(settings)
        )
    except (UserError, OSError) as error:
        told = error.message if isinstance(error, UserError) else str(error)
        print(printable(f"its data cannot be compared: {told}"))
        return
    finally:
        logger.setLevel(level)
    check_state(folder, state)


@cache
def _state_in_sweep(data: str, kind: Any) -> dict[str, str]:
    return build.state_of_data(RunSettings(json.loads(data), {}, {"data": kind}))


def _train(folder: RunFolder, settings: RunSettings, request: StopRequest, *, resume: bool, in_sweep: bool) -> None:
    started = time.monotonic()
    names = settings.choices
    title = f"{names['data']} · {names['method']} · {settings.network} · split {settings.split}"
    if settings.data.get("folds"):
        title += f" · fold {settings.data['fold']}"
    log.info("%s   %s", title, shown(folder.path))
    # What a method, its weights and its processes refuse is told before the images are decoded.
    source = build.open_source(settings)
    # A frozen backbone may have to look at images again, whatever a checkpoint brings.
    load = not resume or settings.precompute or _is_fitted(settings)
    method = build.build_method(settings, list(source.names), dim=build.dim_of(source), load=load)
    if settings.refit and isinstance(method, DeepMethod):
        _prepare_refit(settings, method, resume=resume)
    data: Data = build.build_data(settings, source)
    parts = ", ".join(f"{name} {len(rows):,}" for name, rows in data.splits.items())
    kind = "bags" if isinstance(data, BagData) else "images"
    log.info("%d %s: %s; labels: %s", len(data.source), kind, parts, ", ".join(data.labels))
    if is_leader():
        folder.checkpoints.mkdir(exist_ok=True)
        _write_split(folder, data.manifest)
    if settings.refit and isinstance(method, DeepMethod):
        data = data.trained_on_validation()
        log.info("refit: trains on %d images, those of validation too", len(data.splits["train"]))
    data = build.with_features(settings, data, method)
    report: dict[str, Any] | None
    if isinstance(method, FittedMethod):
        report = _fit(folder, settings, data, method)
    else:
        report = train_deep(folder, settings, data, cast(DeepMethod, method), request, resume=resume)
    if report is None:
        return
    report["seconds_in_all"] = time.monotonic() - started
    report["images"] = len(data.source)
    folder.check_there()
    write_predictions(folder, report.pop("predictions"), data.labels)
    if method.scores_instances and isinstance(data, ImageData):
        figure = draw_heat_maps(method, data, "test", "test images, by the weights that were evaluated")
        write_picture(folder.pictures / "heat_maps.png", figure)
    warn_of_result(method, data, report)
    write_json(folder.metrics, report)
    if in_sweep:
        print(line_of(title, report), flush=True)
        return
    print_report(
        folder,
        f"{title}   {shown(folder.path)}",
        report,
        per_label=settings.per_label,
        next_command=_test_command(folder, settings),
    )


def _test_command(folder: RunFolder, settings: RunSettings) -> str:
    own = any(not kind.__module__.startswith(PACKAGE) for kind in settings.classes.values())
    return f"python test.py run={shown(folder.path)}" + " user_classes=true" * own


def _is_fitted(settings: RunSettings) -> bool:
    return issubclass(settings.classes["method"], FittedMethod)


def _prepare_refit(settings: RunSettings, method: DeepMethod, *, resume: bool) -> None:
    """A network that is to learn from the validation part too has nothing left to ask of it."""
    if watching := [stage.name for stage in method.stages if RULES[stage.rule].needs_validation]:
        raise UserError(
            f"refit=true: stage {watching[0]} ends by its validation part, which it would learn from",
            f"schedule.{watching[0]}.rule=one_cycle, and the number of epochs that validation chose",
        )
    threshold = None if resume else threshold_before(settings)  # a checkpoint has it
    method.description["validation"] = {"criteria": None, "threshold": threshold}


def _fit(folder: RunFolder, settings: RunSettings, data: Data, method: FittedMethod) -> dict[str, Any]:
    """Fit a method on the features of its frozen backbone, and evaluate it."""
    build.give_distances(settings, data, method)
    method.to(device_of(settings.trainer))
    logger = build.logger_settings(settings).build(folder.path)
    started = time.monotonic()
    method.fit(*data.examples("train"))
    seconds = time.monotonic() - started
    rows = predict(method, data, "validation")
    validation = evaluate_validation(rows, method)
    draw_pictures(folder.pictures, method, data, rows, logger=logger)  # before it is fitted on validation too
    if settings.refit:
        if settings.threshold is not None:
            validation["threshold"] = settings.threshold
        method.description["validation"] = validation
        started = time.monotonic()
        method.fit(*data.examples("train", "validation"))
        seconds += time.monotonic() - started
    log.info("fitted in %.1f s", seconds)
    save_fitted(method, folder.best)
    folder.last.unlink(missing_ok=True)
    folder.last.hardlink_to(folder.best)
    report = evaluate_checkpoint(method, data, folder.best, validation)
    if method.explains:
        report["predictions"] |= method.explain(data.examples("test")[0])
        write_shown(folder, data, report["predictions"])
    _log_hparams(logger, settings, report)
    return {**report, **method.details(), "stages": [], "seconds": seconds}


def train_deep(
    folder: RunFolder,
    settings: RunSettings,
    data: Data,
    method: DeepMethod,
    request: StopRequest,
    *,
    resume: bool,
) -> dict[str, Any] | None:
    """Train a method by gradients, from where it stands, and evaluate it; None in all processes but the first."""
    device = device_of(settings.trainer)
    on_gpu = device.type == "cuda"
    if method.encoder.backbone.frozen and not resume:
        method.encoder.set_moments(*data.moments())
    method.use_training_labels(data.training_labels())
    state = weights_into(method, folder.last) if resume else None  # Lightning reads it again: here it is checked
    try:
        epoch, batch = map(int, state["callbacks"]["Checkpoints"]["position"]) if state else (0, 0)
        loader = data.train_loader((epoch, batch), on_gpu=on_gpu)
        stages = Stages(method.stages, partial(data.split_loader, "train", MEASURED_ROWS, on_gpu=on_gpu))
        checkpoints = Checkpoints(
            folder.checkpoints,
            stages,
            request,
            settings.trainer["checkpoint_minutes"],
            settings.trainer["checkpoint_steps"],
            batches=cast(GlobalBatches, loader.batch_sampler),
            ids=data.source.ids,
        )
        if state:
            stages.load_state_dict(state["callbacks"]["Stages"])
            checkpoints.load_state_dict(state["callbacks"]["Checkpoints"])
            if settings.refit:
                method.description["validation"] = state["retdm"]["validation"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder.last} does not say where to continue", "train anew with overwrite=true") from error
    evaluation = Evaluation()
    callbacks: list[Callback] = [
        evaluation,
        EpochLines(stages, folder.history),  # before the stages move on
        stages,
        Pictures(folder.pictures, data, stages, evaluation),
        checkpoints,
        EpochBar(),
    ]
    trainer = build.build_trainer(settings, folder.path, callbacks, sum(stage.max_epochs for stage in method.stages))
    if state:
        log.info("continuing at epoch %d, batch %d, stage %s", epoch + 1, batch + 1, stages.stage.name)
    elif is_leader():
        warn_of_few_steps(method, data)
    if not stages.finished:
        trainer.fit(
            method,
            loader,
            data.split_loader("validation", on_gpu=on_gpu),
            ckpt_path=folder.last if resume else None,
            weights_only=True,
        )
    if not folder.best.exists():
        raise RuntimeError(f"training left no {folder.best}")
    method.to(device)
    earlier = _earlier_stages(method, data, checkpoints)
    report = evaluate_checkpoint(method, data, folder.best)  # last, for the method keeps the weights that it loads
    report["stages"] = stages.history
    report["earlier_stages"] = earlier
    report["seconds"] = sum(row["minutes"] for row in stages.history) * 60
    if not is_leader():
        return None
    _log_hparams(trainer.logger, settings, report)
    return report


def _earlier_stages(method: DeepMethod, data: Any, checkpoints: Checkpoints) -> dict[str, Any]:
    """Criteria of the best weights of stages before the last, so that their share of the result shows."""
    found = {}
    for name in checkpoints.best:
        path = checkpoints.path_of_best(name)
        stage = next(stage for stage in method.stages if stage.name == name)
        if path.name != "best.ckpt" and "classifier" in stage.train and path.exists():
            report = evaluate_checkpoint(method, data, path)
            found[name] = {key: report[key] for key in ("validation", "test", "test_validation_threshold")}
    return found


def _write_split(folder: RunFolder, manifest: dict[str, Any]) -> None:
    """The manifest of the first start stays; data that gives another is other data."""
    if folder.split.exists():
        check_split(folder, manifest)
    else:
        write_json(folder.split, manifest)


def _log_hparams(logger: Logger | None, settings: RunSettings, report: dict[str, Any]) -> None:
    """Settings beside the test criteria, for the logger: an entry of TensorBoard's HPARAMS.

    TensorBoard sorts settings by name and shows the first: numbers make these what tells runs from each other.
    """
    names, split = settings.choices, settings.split
    first = {"1 method": names["method"], "2 data": names["data"], "3 split": split, "4 backbone": names["backbone"]}
    groups = {key: getattr(settings, key) for key in ("data", "backbone", "method", "optimizer", "seed")}
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


class _LogFile(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: a full disk is reported once, by what cannot go on without it."""


@contextlib.contextmanager
def _logging(folder: RunFolder, *, quiet: bool) -> Iterator[None]:
    """The first process says what happens, in ``log.txt`` and, unless ``quiet``, on the screen; warnings always."""
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
