"""The staged schedule: one fit, in which parts, losses and rates change when a stage's rule says so."""

import logging
import math
import time
from collections.abc import Iterator
from typing import Any, cast

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities.types import STEP_OUTPUT

from retdm.batch import Batch
from retdm.data.module import ImageData
from retdm.methods.base import DeepMethod
from retdm.methods.stage import Stage

log = logging.getLogger(__name__)

MEASURED_ROWS = 2048  # enough for a mean to three digits, and no more than seconds on large data


def one_cycle_lr(step: int, steps: int, peak: float) -> float:
    """Rate of step 0 … steps-1 of one cycle: from peak/25 up over the first three tenths, then down to peak/250,000,
    both along a cosine (Smith 2018, with PyTorch's defaults)."""
    up = max(0.3 * steps - 1, 1e-9)
    down = max(steps - 1 - up, 1e-9)

    def between(start: float, end: float, share: float) -> float:
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    if step <= up:
        return between(peak / 25, peak, step / up)
    return between(peak, peak / 25e4, min((step - up) / down, 1.0))


class Stages(Callback):
    """Walks through a method's stages.

    On entering one: the parts that train, the losses and the rate are set and the optimiser's momentum is cleared. At
    the end of each epoch the stage's rule decides on the rate and on moving on. All of its state is in the checkpoint,
    and what it sets is a function of that state, so a resumed run stands where the saved one stood.
    """

    def __init__(self, stages: list[Stage]) -> None:
        self.stages = stages
        self.index = 0  # of the stage; len(stages) when training is finished
        self.epoch = self.step = 0  # done within the stage
        self.lr = stages[0].lr
        self.best = float("inf")  # lowest validation loss of the stage
        self.waited = 0  # epochs since then
        self.entered = False
        self.history: list[dict[str, Any]] = []
        self._since = time.monotonic()

    KEYS = ("index", "epoch", "step", "lr", "best", "waited", "entered", "history")

    def state_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.KEYS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for key in self.KEYS:
            setattr(self, key, state[key])

    @property
    def stage(self) -> Stage:
        return self.stages[min(self.index, len(self.stages) - 1)]

    @property
    def finished(self) -> bool:
        return self.index >= len(self.stages)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._since = time.monotonic()
        if self.entered:  # resumed inside a stage
            method = cast(DeepMethod, pl_module)
            method.set_stage(self.stage, self.lr)
            method.stage_step = self.step

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        if self.entered:
            return
        method = cast(DeepMethod, pl_module)
        self.epoch = self.step = self.waited = 0
        self.best, self.lr, self.entered = float("inf"), self.stage.lr, True
        method.set_stage(self.stage, self.lr)
        method.stage_step = 0
        method.eval()
        method.measure(self.stage, _train_views(trainer, method))
        method.train()
        for optimizer in trainer.optimizers:
            optimizer.state.clear()
        self.history.append({"stage": self.stage.name, "epochs": 0, "lr": self.lr, "minutes": 0.0})
        log.info("stage %s: trains %s on %s", self.stage.name, ", ".join(self.stage.train), ", ".join(method.active))

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        if self.stage.rule == "one_cycle":
            steps = self.stage.max_epochs * int(trainer.num_training_batches)
            self.lr = one_cycle_lr(self.step, steps, self.stage.lr)
            cast(DeepMethod, pl_module).set_lr(self.lr)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: STEP_OUTPUT, batch: Batch, batch_idx: int
    ) -> None:
        self.step += 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.epoch += 1
        watched = trainer.callback_metrics["validation/loss"].item()
        now = time.monotonic()
        record = self.history[-1]
        record["epochs"] = self.epoch
        record["minutes"] += (now - self._since) / 60
        record["validation_loss"] = watched
        value = trainer.callback_metrics["validation/mAP"].item()
        record["validation_mAP"] = (
            value if self.stage.rule == "one_cycle" else max(value, record.get("validation_mAP", 0.0))
        )
        self._since = now
        if self._is_over(watched):
            self.index, self.entered = self.index + 1, False
            trainer.should_stop = self.finished
        elif self.stage.rule == "plateau":
            cast(DeepMethod, pl_module).set_lr(self.lr)

    def _is_over(self, watched: float) -> bool:
        """Apply the stage's rule to its validation loss; True where the stage ends."""
        if self.epoch >= self.stage.max_epochs:
            return True
        if self.stage.rule == "one_cycle":
            return False
        if watched < self.best:
            self.best, self.waited = watched, 0
            return False
        self.waited += 1
        if self.waited < self.stage.patience:
            return False
        if self.lr < self.stage.lr:  # a tenth already: RETDM's floor
            return True
        self.lr, self.waited = self.stage.lr / 10, 0
        return False


def _train_views(trainer: Trainer, method: DeepMethod) -> Iterator[Batch]:
    data = cast(ImageData, trainer.datamodule)  # type: ignore[attr-defined]
    for batch in data.part_loader("train", MEASURED_ROWS):
        moved = method.transfer_batch_to_device(batch, method.device, 0)
        yield method.on_after_batch_transfer(moved, 0)
