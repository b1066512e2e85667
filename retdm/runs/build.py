"""Settings to objects: data, method, trainer."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy

from retdm.backbones import Backbone, NoBackbone
from retdm.data.base import Data
from retdm.data.module import BagData, ImageData, module_of
from retdm.data.source import state_of
from retdm.errors import UserError
from retdm.methods.base import Method
from retdm.methods.deep import DeepMethod
from retdm.methods.on_bags.distance_method import DistanceMethod
from retdm.registry import CONF
from retdm.runs.provenance import provenance
from retdm.settings.checks import parameters_of
from retdm.settings.classes import class_of
from retdm.settings.devices import accelerator, check_devices, device_of, devices_and_nodes
from retdm.settings.run_settings import RunSettings
from retdm.training.checkpoint_files import CheckpointFiles
from retdm.training.distances import use_distances
from retdm.training.features import precompute_features
from retdm.training.loggers import LoggerSettings
from retdm.training.optimizers import OptimizerSettings

log = logging.getLogger("retdm")


def state_of_data(settings: RunSettings) -> dict[str, str]:
    """What a run knows its data by, see :func:`retdm.data.source.state_of`. Opens it, and downloads nothing."""
    data = settings.data
    return state_of(open_source(settings.changed(data=data | ({"download": False} if "download" in data else {}))))


def open_source(settings: RunSettings) -> Any:
    """The data set of a run, no image of it decoded yet."""
    source = settings.classes["data"]
    takes = parameters_of(source)
    return source(**{key: value for key, value in settings.data.items() if key in takes and key != "_target_"})


def dim_of(source: Any) -> int | None:
    """Features of an instance, where a source gives bags; None where images."""
    return int(source.instances.shape[1]) if module_of(type(source)) is BagData else None


def build_data(settings: RunSettings, source: Any = None) -> ImageData | BagData:
    """The data module of a run: the source's own keys go to the source, the rest to the loaders.

    Args:
        settings: of the run.
        source: what :func:`open_source` gave, where that was asked before.
    """
    if source is None:
        source = open_source(settings)
    takes = parameters_of(type(source))
    config = {key: value for key, value in settings.data.items() if key not in takes and key != "_target_"}
    return module_of(type(source))(source, **config, seed=settings.seed)


def check_takes(settings: RunSettings) -> None:
    """The method takes what the data gives; asked before any file is read.

    Raises:
        UserError: it does not; the methods that would are named.
    """
    given = settings.classes["data"].gives
    if given in settings.classes["method"].takes:
        return
    fitting = []
    for file in sorted((CONF / "method").glob("*.yaml")):
        config = yaml.safe_load(file.read_text()) or {}
        if "_target_" in config and given in class_of("method", config).takes:
            fitting.append(file.stem)
    raise UserError(
        f"data={settings.choices['data']} gives {given.__name__}, not what {settings.choices['method']} takes",
        f"methods that do: {', '.join(fitting) or 'none yet'}",
    )


def build_method(
    settings: RunSettings,
    labels: list[str],
    *,
    dim: int | None = None,
    load: bool = True,
) -> Method:
    """The method of a run.

    Args:
        settings: of the run.
        labels: their names, in order.
        dim: features of an instance, where the data gives bags instead of images.
        load: False reads no weights, because a checkpoint will bring them.
    """
    config = _own(settings.method)
    if issubclass(settings.classes["method"], DeepMethod):
        config["optimizer"] = partial(build_optimizer, settings)
    with torch.random.fork_rng(devices=[]):  # `retdm.load` must not change its caller's random numbers
        torch.manual_seed(settings.seed)
        backbone = _backbone(settings, load=load) if dim is None else NoBackbone(dim)
        if settings.precompute:
            backbone.freeze()
        method: Method = settings.classes["method"](backbone, labels, **config, seed=settings.seed)
    if isinstance(method, DeepMethod):
        method.check_stages()
    if dim is None and (size := settings.data.get("image_size")):
        method.encoder.check_side(size)
    if settings.trainer["precision"] == "bf16-mixed":
        method.encoder.autocast = torch.bfloat16
    method.to(memory_format=torch.channels_last)
    if backbone.report is not None:
        log.info("%s", backbone.report)
    return method


def describe(
    settings: RunSettings, method: Method, dim: int | None, validation: dict[str, Any] | None
) -> dict[str, Any]:
    """Plain values that a checkpoint holds beside the weights, enough to build its method without data.

    Args:
        settings: of the run.
        method: of the run.
        dim: features of an instance, where the data gives bags instead of images.
        validation: ``criteria`` and ``threshold`` before the method was trained on the validation split too; else None.
    """
    return {
        "settings": settings.as_dict(),
        "identity": settings.identity,
        "labels": method.labels,
        "image_size": settings.data.get("image_size"),
        "dim": dim,
        "transform": method.encoder.backbone.transform.as_dict(),
        "provenance": provenance(),
        "validation": validation,
    }


def build_optimizer(settings: RunSettings, groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """The optimizer that a run chose, of a method's parameter groups."""
    chosen: OptimizerSettings = settings.classes["optimizer"](**_own(settings.optimizer))
    return chosen.build(groups, lr)


def _backbone(settings: RunSettings, *, load: bool) -> Backbone:
    backbone: Backbone = settings.classes["backbone"](**_own(settings.backbone), load=load)
    return backbone


def _own(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "_target_"}


def with_features(settings: RunSettings, data: Data, method: Method) -> Data:
    """The same data with features of a frozen backbone in the place of images, from the cache where they are there.

    Where the backbone is trained, or the data has bags, the data as it is.

    Args:
        settings: of the run.
        data: of the run.
        method: with its backbone's weights.
    """
    net = method.encoder
    if not net.backbone.frozen:
        return data
    if isinstance(data, ImageData):
        method.to(device_of(settings.trainer))
        backbone = settings.identity["backbone"]
        of = {"backbone": backbone, "seed": settings.seed if backbone["weights"] == "none" else None}
        cache = settings.data["cache"]
        return precompute_features(data, method, of, None if cache == "none" else Path(cache))
    return data


def give_distances(settings: RunSettings, data: Data, method: Method) -> None:
    """Give a method that sees bags by their distances those of the whole data set, from the cache where they are there.

    Features come first; other methods are left alone.
    """
    if isinstance(method, DistanceMethod):
        cache = settings.data["cache"]
        use_distances(data, method, None if cache == "none" else Path(cache))


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
        description: of the checkpoints, see :func:`describe`.
    """
    config = settings.trainer
    kind, devices, nodes, trained_norm = processes(settings)
    several = nodes > 1 or devices != 1
    with _quiet():
        trainer = Trainer(
            accelerator=kind,
            devices=devices,
            num_nodes=nodes,
            # A stage trains some parts only: the others' gradients never come.
            strategy=DDPStrategy(find_unused_parameters=True) if several else "auto",
            sync_batchnorm=trained_norm,
            max_epochs=epochs,
            logger=logger or False,
            callbacks=callbacks,
            plugins=[CheckpointFiles(description)],
            enable_checkpointing=any(_is_checkpoint(callback) for callback in callbacks),
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
    chosen: LoggerSettings = settings.classes["logger"](**_own(settings.logger))
    return chosen


def _is_checkpoint(callback: Callback) -> bool:
    from pytorch_lightning.callbacks import Checkpoint

    return isinstance(callback, Checkpoint)


def _trains_batchnorm(settings: RunSettings) -> bool:
    if settings.precompute or not settings.backbone:
        return False
    with torch.device("meta"):
        backbone = _backbone(settings, load=False)
    return backbone.batchnorm == "trained"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Lightning says about itself off the screen; its warnings about our code stay."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
