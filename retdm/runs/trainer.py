"""Lightning's trainer of a run, its processes and its logger."""

import logging
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy

from retdm.display.screen import muted
from retdm.errors import UserError
from retdm.runs.build import arguments_of, build_backbone
from retdm.settings.devices import accelerator, check_devices, devices_and_nodes
from retdm.settings.run_settings import RunSettings
from retdm.training.checkpoint_files import CheckpointFiles
from retdm.training.loggers import LoggerSettings


def processes(settings: RunSettings) -> tuple[str, int | list[int], int, bool]:
    """``cpu`` or ``gpu``, devices on this machine, machines, and whether BatchNorm is trained over all of them.

    Raises:
        UserError: there are none such, or they cannot share what they learn.
    """
    config = settings.trainer
    kind = accelerator(config["accelerator"])
    devices, nodes = devices_and_nodes(config)
    check_devices(config)
    trained_norm = (nodes > 1 or devices != 1) and _trains_batchnorm(settings)
    if trained_norm and kind == "cpu":
        raise UserError(
            f"{settings.choices['backbone']} trains its BatchNorm, whose statistics several CPU processes cannot share",
            "trainer.devices=1, a GPU, backbone.batchnorm=frozen (with weights), or backbone=vgg_small, which has none",
        )
    return kind, devices, nodes, trained_norm


def build_trainer(
    settings: RunSettings,
    callbacks: list[Callback],
    epochs: int,
    logger: Logger | None,
    description: dict[str, Any],
) -> Trainer:
    """Lightning's trainer. Precision is the method's own business: only its backbone runs in bfloat16.

    Args:
        settings: of the run.
        callbacks: in the order in which they are called.
        epochs: at most.
        logger: of the run's curves.
        description: of the checkpoints, see :func:`retdm.runs.build.describe`.
    """
    config = settings.trainer
    kind, devices, nodes, trained_norm = processes(settings)
    several = nodes > 1 or devices != 1
    # What Lightning says about itself stays off the screen; its warnings about our code do not.
    with muted("pytorch_lightning.utilities.rank_zero", "lightning_fabric", below=logging.WARNING):
        trainer = Trainer(
            accelerator=kind,
            devices=devices,
            num_nodes=nodes,
            # A stage trains some components only; the others get no gradients.
            strategy=DDPStrategy(find_unused_parameters=True) if several else "auto",
            sync_batchnorm=trained_norm,
            max_epochs=epochs,
            logger=logger or False,
            callbacks=callbacks,
            plugins=[CheckpointFiles(description)],
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            log_every_n_steps=config["log_every_n_steps"],
            inference_mode=True,
        )
    # Signals are ours (retdm/stop.py): what it does on SIGTERM waits for processes that have stopped.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer


def logger_settings(settings: RunSettings) -> LoggerSettings:
    """The settings of the logger that a run chose."""
    chosen: LoggerSettings = settings.classes["logger"](**arguments_of(settings.logger))
    return chosen


def _trains_batchnorm(settings: RunSettings) -> bool:
    if settings.precompute or not settings.backbone:
        return False
    with torch.device("meta"):
        backbone = build_backbone(settings, load=False)
    return backbone.batchnorm == "trained"
