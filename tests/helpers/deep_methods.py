"""Deep methods of conf/method as they stand when training begins."""

import logging
from typing import Any

import yaml
from pytorch_lightning import Trainer

from retdm.batch import Batch
from retdm.methods.deep import DeepMethod
from retdm.registry import CONF, resolve
from retdm.runs.build import build_data, build_method
from retdm.settings.run_settings import RunSettings


def class_of(name: str) -> Any:
    """As the method's YAML names it, or that of the method it is a variant of."""
    content = yaml.safe_load((CONF / "method" / f"{name}.yaml").read_text())
    return resolve(content["_target_"]) if "_target_" in content else class_of(content["defaults"][0])


METHODS = [
    file.stem for file in sorted((CONF / "method").glob("*.yaml")) if issubclass(class_of(file.stem), DeepMethod)
]


def ready(settings: RunSettings, backbone: dict[str, Any] | None = None) -> tuple[DeepMethod, Batch]:
    """The method of a run in its last stage, with its optimizer and data, and its first training batch."""
    settings = settings.changed(backbone=backbone or settings.backbone, recorded={})  # its weights are no file
    data = build_data(settings)
    method = build_method(settings, data.labels)
    assert isinstance(method, DeepMethod)
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    before = logger.level
    logger.setLevel(logging.WARNING)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    logger.setLevel(before)
    trainer.datamodule = data  # type: ignore[attr-defined]
    method.trainer = trainer
    trainer.strategy.optimizers = [method.configure_optimizers()]
    method.use_training_labels(data.training_labels())
    method.set_stage(method.stages[-1], 0.1)
    batch: Batch = method.on_after_batch_transfer(next(iter(data.train_loader())), 0)
    return method, batch


def at_stage(method: DeepMethod, name: str) -> None:
    method.set_stage(next(stage for stage in method.stages if stage.name == name), 0.1)
