from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from pytorch_lightning import Callback, Trainer
from torch.utils.data import DataLoader

from retdm.data.modules import ImageData
from retdm.data.sampling import GlobalBatches
from retdm.methods.deep import DeepMethod
from retdm.runs.build import build_data, build_method, describe
from retdm.runs.process import prepare_process
from retdm.runs.trainer import build_trainer, logger_settings
from retdm.settings.run_settings import RunSettings
from retdm.stop import StopRequest
from retdm.training.checkpoint_files import read_checkpoint
from retdm.training.checkpoints import Checkpoints
from retdm.training.evaluation import Evaluation
from retdm.training.stages import Stages


@dataclass
class Fit:
    """A tiny fit and all that took part in it."""

    method: DeepMethod
    data: ImageData
    loader: DataLoader[Any]
    trainer: Trainer
    evaluation: Evaluation
    stages: Stages
    checkpoints: Checkpoints
    request: StopRequest
    folder: Path  # of the checkpoints

    def run(self) -> "Fit":
        """Train to the end, from ``last.ckpt`` where there is one."""
        last = self.folder / "last.ckpt"
        resume = last if last.exists() else None
        if resume is not None:
            state = read_checkpoint(resume)["callbacks"]
            self.stages.load_state_dict(state["Stages"])
            self.checkpoints.load_state_dict(state["Checkpoints"])
            self.checkpoints.batches.start_at(*self.checkpoints.position)
        validation = self.data.split_loader("validation")
        self.trainer.fit(self.method, self.loader, validation, ckpt_path=resume, weights_only=True)
        return self


@pytest.fixture
def plan(tiny: Callable[..., RunSettings], tmp_path: Path) -> Iterator[Callable[..., Fit]]:
    """``plan("method=bce", …, callbacks=[…])``: a fit that has not begun."""
    prepare_process()

    def make(*overrides: str, callbacks: list[Callback] | None = None, backbone: str | None = None) -> Fit:
        settings = tiny(*overrides)
        if backbone is not None:
            settings = settings.changed(backbone={"_target_": backbone})
        data = build_data(settings)
        method = build_method(settings, data.labels)
        folder = tmp_path / "checkpoints"
        folder.mkdir(exist_ok=True)
        method.use_training_labels(data.training_labels())
        evaluation, request, loader = Evaluation(), StopRequest(), data.train_loader()
        stages = Stages(method.stages, lambda: data.split_loader("train"))
        steps = settings.trainer["checkpoint_steps"]
        batches, ids = cast(GlobalBatches, loader.batch_sampler), data.source.ids
        checkpoints = Checkpoints(folder, stages, request, 60, steps, batches=batches, ids=ids)
        epochs = sum(stage.max_epochs for stage in method.stages)
        trainer = build_trainer(
            settings,
            [evaluation, stages, *(callbacks or []), checkpoints],
            epochs,
            logger_settings(settings).build(tmp_path),
            describe(settings, method, None, None),
        )
        return Fit(method, data, loader, trainer, evaluation, stages, checkpoints, request, folder)

    return make
