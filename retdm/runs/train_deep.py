"""Train a network by gradients, from where its run stands, and evaluate it."""

import logging
from functools import partial
from typing import Any, cast

from pytorch_lightning import Callback
from pytorch_lightning.loggers import Logger
from torch import nn

from retdm.data.base_module import Data
from retdm.data.sampling import GlobalBatches
from retdm.errors import UserError
from retdm.methods.deep import DeepMethod
from retdm.runs.advice import warn_of_few_steps, warn_of_unused
from retdm.runs.build import describe
from retdm.runs.distributed import broadcast
from retdm.runs.evaluate import evaluate_method, main_criteria
from retdm.runs.folder.paths import RunFolder
from retdm.runs.folder.rows import OUT_OF_FOLD, ChosenOn
from retdm.runs.folder.saved import weights_into
from retdm.runs.start import FEW, Start, average_with_start, read_start, start_at_frequencies, start_at_probe
from retdm.runs.trainer import build_trainer
from retdm.settings.devices import device_of
from retdm.settings.run_settings import RunSettings
from retdm.stop import StopRequest, is_leader
from retdm.training.averaging import MovingAverage
from retdm.training.checkpoint_files import read_checkpoint, save
from retdm.training.checkpoints import Checkpoints
from retdm.training.evaluation import Evaluation
from retdm.training.inference import predict
from retdm.training.pictures.callback import Pictures
from retdm.training.progress import EpochBar, EpochLines
from retdm.training.stages import MEASURED_ROWS, Stages

log = logging.getLogger("retdm")


def train_deep(
    folder: RunFolder,
    settings: RunSettings,
    data: Data,
    method: DeepMethod,
    request: StopRequest,
    logger: Logger | None,
    validation: dict[str, Any] | None,
    chosen_on: ChosenOn | None,
    *,
    resume: bool,
) -> dict[str, Any]:
    """Train to the last stage's end and evaluate the best checkpoint.

    Args:
        folder: of the run.
        settings: of the run.
        data: what the network takes, its training split complete.
        method: with its initial weights.
        request: to stop.
        logger: of the run's curves and pictures.
        validation: ``criteria`` and ``threshold`` of an earlier run, where this one is trained on the validation split.
        chosen_on: what that one's decision rule chose on, where this one's needs it.
        resume: continue from ``last.ckpt``.

    Returns:
        The report, see :func:`retdm.runs.evaluate.evaluate_method`, with ``stages``, ``earlier_stages`` and
        ``seconds``.
    """
    device = device_of(settings.trainer)
    on_gpu = device.type == "cuda"
    method.use_training_labels(data.training_labels())
    start: Start | None = None
    if settings.start == "probe":
        begin = partial(start_at_probe, folder, settings, data, method, validation, chosen_on)
        start = read_start(folder, settings) if resume else begin()
    elif not resume:
        if settings.start == "frequencies":
            start_at_frequencies(method, data.training_labels())
        if method.encoder.backbone.frozen:
            method.encoder.set_moments(*data.moments())
    planned = [stage for stage in method.stages if stage.inputs == "images"]
    if not planned:  # the start is all there is
        if is_leader():
            warn_of_unused(settings, method, data)
            save(read_checkpoint(folder.start), folder.best)
        broadcast(None)
        return _report(folder, settings, data, method, start, validation, chosen_on, [], {})
    # Lightning reads it again: here it is checked.
    state = weights_into(method, folder.last, settings.identity) if resume else None
    try:
        epoch, batch = map(int, state["callbacks"]["Checkpoints"]["position"]) if state else (0, 0)
        loader = data.train_loader((epoch, batch), on_gpu=on_gpu)
        method.stages = [stage.lengthened(len(loader)) for stage in planned]
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
            validation = state["retdm"]["validation"]
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
    if settings.ema:
        callbacks.append(MovingAverage(settings.ema))
    epochs = sum(stage.max_epochs for stage in method.stages)
    description = describe(settings, method, data.dim, validation)
    trainer = build_trainer(settings, callbacks, epochs, logger, description)
    if state:
        log.info("continuing at epoch %d, batch %d, stage %s", epoch + 1, batch + 1, stages.stage.name)
    elif is_leader():
        for stage, longer in zip(planned, method.stages, strict=True):
            if longer != stage:
                log.info(
                    "stage %s: %d epochs instead of %d, to make %d steps",
                    stage.name,
                    longer.max_epochs,
                    stage.max_epochs,
                    stage.min_steps,
                )
        if start is None:
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
    earlier = _earlier_stages(settings, method, data, checkpoints, chosen_on)
    if settings.average and not method.takes_classifier:
        log.info("the weights are not averaged with those of the start, where the head was still random")
    elif settings.average:
        if is_leader():
            average_with_start(folder, settings, method)
        broadcast(None)
        weights_into(method, folder.end, settings.identity)
        earlier["not_averaged"] = main_criteria(method, data, validation, chosen_on)
    return _report(folder, settings, data, method, start, validation, chosen_on, stages.history, earlier)


def _report(
    folder: RunFolder,
    settings: RunSettings,
    data: Data,
    method: DeepMethod,
    start: Start | None,
    validation: dict[str, Any] | None,
    chosen_on: ChosenOn | None,
    history: list[dict[str, Any]],
    earlier: dict[str, Any],
) -> dict[str, Any]:
    """The report of ``best.ckpt``, see :func:`train_deep`; ``earlier`` has the criteria of other weights, by name."""
    content = weights_into(method, folder.best, settings.identity)
    count = len(data.splits["validation"])
    if method.chooses_on_validation and count < FEW:
        log.info("%d images of validation choose nothing: the method scores as it did in training", count)
    elif method.chooses_on_validation:
        method.choose_on_validation(partial(predict, method, data, "validation"))
        if is_leader():
            save({**content, "state_dict": method.state_dict()}, folder.best)
    if start is not None:
        history, earlier = start.stages + history, {"probe": start.criteria} | earlier
        if validation is None:
            chosen_on = _out_of_fold(method, count, start)
    seconds = sum(row["minutes"] for row in history) * 60
    return evaluate_method(method, data, validation, chosen_on) | {
        "stages": history,
        "earlier_stages": earlier,
        "seconds": seconds,
    }


def _out_of_fold(method: DeepMethod, count: int, start: Start) -> ChosenOn | None:
    """The probe's out-of-fold scores, for a validation split of so few images chooses nothing; None where that split
    chooses, or the method's scores are no probabilities, or its head begins at others than the probe's (CSRA)."""
    alike = method.estimates_probabilities and isinstance(method.classifier, nn.Linear)
    if count >= FEW or start.out_of_fold is None or not alike:
        return None
    log.info("thresholds: the best on the probe's out-of-fold scores, for %d images of validation choose none", count)
    return ChosenOn({name: column.numpy() for name, column in start.out_of_fold.items()}, OUT_OF_FOLD)


def _earlier_stages(
    settings: RunSettings, method: DeepMethod, data: Data, checkpoints: Checkpoints, chosen_on: ChosenOn | None
) -> dict[str, dict[str, Any]]:
    """Criteria of the best weights of stages before the last, to show their share of the result."""
    found = {}
    for name in checkpoints.best:
        path = checkpoints.path_of_best(name)
        stage = next(stage for stage in method.stages if stage.name == name)
        if path.name != "best.ckpt" and "classifier" in stage.train and path.exists():
            content = weights_into(method, path, settings.identity)
            found[name] = main_criteria(method, data, content["retdm"].get("validation"), chosen_on)
    return found
