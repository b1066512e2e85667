"""The staged schedule: one fit, in which components, losses and rates change when a stage's rule says so."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities.types import STEP_OUTPUT

from retdm.batch import Batch
from retdm.methods.deep import DeepMethod
from retdm.methods.stage import Stage
from retdm.training.schedule_rules import rule_of

log = logging.getLogger(__name__)

MEASURED_ROWS = 2048  # enough for a mean to three digits, and no more than seconds on large data


class Stages(Callback):
    """Walks through a method's stages.

    On entering one: the components that train, the losses and the rate are set and the optimizer's state is cleared.
    Its rule gives the rate of every step and says, at the end of each epoch, whether the stage is over. All state is in
    the checkpoint, and what is set is a function of that state, so a resumed run stands where the saved one stood.

    Args:
        stages: of the method.
        views: gives test views of (a sample of) the training images, for what a method measures when a stage starts.
    """

    def __init__(self, stages: list[Stage], views: Callable[[], Iterable[Any]] = tuple) -> None:
        self.stages, self.views = stages, views
        self.index = 0  # of the stage; len(stages) when training is finished
        self.step = 0  # done within the stage
        self.rule = rule_of(stages[0])
        self.lr = stages[0].lr  # of the last step
        self.entered = False
        self.history: list[dict[str, Any]] = []
        self._since = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        state = {key: getattr(self, key) for key in ("index", "step", "lr", "entered", "history")}
        return state | {"rule": self.rule.state_dict() if self.entered else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.index, self.step, self.lr = state["index"], state["step"], state["lr"]
        self.entered, self.history = state["entered"], state["history"]
        self.rule = rule_of(self.stage)
        if self.entered:
            self.rule.load_state_dict(state["rule"])

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
        self.rule, self.step, self.entered = rule_of(self.stage), 0, True
        self.lr = self.rule.lr(0, self._steps(trainer))
        method.set_stage(self.stage, self.lr)
        method.stage_step = 0
        method.eval()
        method.on_stage_start(self.stage, (method.prepared(batch) for batch in self.views()))
        method.train()
        for optimizer in trainer.optimizers:
            optimizer.state.clear()
        self.history.append({"stage": self.stage.name, "epochs": 0, "lr": self.stage.lr, "minutes": 0.0})
        log.info("stage %s: trains %s on %s", self.stage.name, ", ".join(self.stage.train), ", ".join(method.active))

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        self.lr = self.rule.lr(self.step, self._steps(trainer))
        method = cast(DeepMethod, pl_module)
        method.stage_epoch = self.rule.epochs
        method.set_lr(self.lr)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: STEP_OUTPUT, batch: Batch, batch_idx: int
    ) -> None:
        self.step += 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        validation_loss = trainer.callback_metrics["validation/loss"].item()
        self.rule.end_epoch(validation_loss)
        now = time.monotonic()
        record = self.history[-1]
        record["epochs"] = self.rule.epochs
        record["minutes"] += (now - self._since) / 60
        record["validation_loss"] = validation_loss
        value = trainer.callback_metrics["validation/mAP"].item()
        record["validation_mAP"] = max(value, record.get("validation_mAP", 0.0)) if self.rule.keeps == "best" else value
        self._since = now
        if self.rule.is_over:
            self.index, self.entered = self.index + 1, False
            trainer.should_stop = self.finished

    def _steps(self, trainer: Trainer) -> int:
        """Of the stage, where it has all its epochs."""
        return self.stage.max_epochs * int(trainer.num_training_batches)
