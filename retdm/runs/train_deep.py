"""Train a network by gradients, from where its run stands, and evaluate it."""

import logging
from functools import partial
from typing import Any, cast

from pytorch_lightning import Callback
from pytorch_lightning.loggers import Logger

from retdm.data.base_module import Data
from retdm.data.loader import GlobalBatches
from retdm.errors import UserError
from retdm.methods.deep import DeepMethod
from retdm.runs.advice import warn_of_few_steps
from retdm.runs.build import describe
from retdm.runs.evaluate import evaluate_method
from retdm.runs.folder.paths import RunFolder
from retdm.runs.folder.saved import weights_into
from retdm.runs.trainer import build_trainer
from retdm.settings.devices import device_of
from retdm.settings.run_settings import RunSettings
from retdm.stop import StopRequest, is_leader
from retdm.training.checkpoint_files import save
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
        resume: continue from ``last.ckpt``.

    Returns:
        The report, see :func:`retdm.runs.evaluate.evaluate_method`, with ``stages``, ``earlier_stages`` and
        ``seconds``.
    """
    device = device_of(settings.trainer)
    on_gpu = device.type == "cuda"
    if method.encoder.backbone.frozen and not resume:
        method.encoder.set_moments(*data.moments())
    method.use_training_labels(data.training_labels())
    # Lightning reads it again: here it is checked.
    state = weights_into(method, folder.last, settings.identity) if resume else None
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
    epochs = sum(stage.max_epochs for stage in method.stages)
    description = describe(settings, method, data.dim, validation)
    trainer = build_trainer(settings, callbacks, epochs, logger, description)
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
    earlier = _earlier_stages(settings, method, data, checkpoints)
    content = weights_into(method, folder.best, settings.identity)
    if method.chooses_on_validation:
        method.choose_on_validation(partial(predict, method, data, "validation"))
        if is_leader():
            save({**content, "state_dict": method.state_dict()}, folder.best)
    report = evaluate_method(method, data, validation)
    report["stages"] = stages.history
    report["earlier_stages"] = earlier
    report["seconds"] = sum(row["minutes"] for row in stages.history) * 60
    return report


def _earlier_stages(
    settings: RunSettings, method: DeepMethod, data: Data, checkpoints: Checkpoints
) -> dict[str, dict[str, Any]]:
    """Criteria of the best weights of stages before the last, to show their share of the result."""
    found = {}
    for name in checkpoints.best:
        path = checkpoints.path_of_best(name)
        stage = next(stage for stage in method.stages if stage.name == name)
        if path.name != "best.ckpt" and "classifier" in stage.train and path.exists():
            content = weights_into(method, path, settings.identity)
            report = evaluate_method(method, data, content["retdm"].get("validation"))
            found[name] = {key: report[key] for key in ("validation", "test", "test_validation_threshold")}
    return found
