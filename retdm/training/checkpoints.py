"""The callback that writes checkpoints, and stops training on request or where a loss is not a number."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.types import STEP_OUTPUT

from retdm.batch import Batch
from retdm.data.sampling import GlobalBatches
from retdm.errors import UserError
from retdm.stop import Stopped, StopRequest
from retdm.training.stages import Stages

PATIENCE = 15.0  # seconds for which a validation that is under way may delay a stop


class Checkpoints(Checkpoint):
    """``last.ckpt``: where to continue; ``best.ckpt``: the weights that are tested, from the last stage.

    A stage's rule says which weights those are: of the epoch of the highest validation mAP, or of the stage's end.

    ``last.ckpt`` is written at every epoch's end and, inside an epoch, every ``minutes`` (or every ``steps``). The best
    of an earlier stage is kept as ``best-<stage>.ckpt``. Each is written beside its place and then renamed.

    Args:
        folder: of the checkpoints.
        stages: of the run.
        request: to stop.
        minutes, steps: between two checkpoints inside an epoch.
        batches: of training.
        ids: names of the data set's rows.

    Attributes:
        position: (epoch, batch) where the last checkpoint continues.

    Raises:
        UserError: a loss is not a number; the images of its batch are named, and the last checkpoint stays.
    """

    def __init__(
        self,
        folder: Path,
        stages: Stages,
        request: StopRequest,
        minutes: float,
        steps: int | None,
        *,
        batches: GlobalBatches,
        ids: Sequence[str],
    ) -> None:
        self.folder, self.stages, self.request = folder, stages, request
        self.batches, self.ids = batches, ids
        self.position = (0, 0)
        self.minutes, self.steps = minutes, steps
        self.best: dict[str, float] = {}
        self._saved = time.monotonic()
        self._bad_step: torch.Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"best": dict(self.best), "position": list(self.position)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = dict(state["best"])
        epoch, batch = map(int, state["position"])
        self.position = (epoch, batch)

    def path_of_best(self, stage: str) -> Path:
        is_last = stage == self.stages.stages[-1].name
        return self.folder / ("best.ckpt" if is_last else f"best-{stage}.ckpt")

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._saved = time.monotonic()
        self.request.deferred = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: STEP_OUTPUT, batch: Batch, batch_idx: int
    ) -> None:
        self._watch(trainer, cast(dict[str, Any], outputs)["loss"])
        stop, late = self._agreed(trainer, self.request.number, time.monotonic() - self._saved > self.minutes * 60)
        if batch_idx + 1 >= trainer.num_training_batches:
            self._check(trainer)  # before the validation, which has no use for such weights
            return  # the epoch's end is near, and saves the validation too
        due = batch_idx % self.steps == self.steps - 1 if self.steps else late
        if due or stop:
            self._save_last(trainer, trainer.current_epoch, batch_idx + 1)
        if stop:
            raise Stopped(stop)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        number, impatient = self._agreed(trainer, self.request.number, self.request.seconds > PATIENCE)
        if impatient:  # the steps since last.ckpt are lost, and made again
            raise Stopped(number)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        value = trainer.callback_metrics["validation/mAP"].item()
        stage = self.stages.stage.name
        rule = self.stages.rule
        if rule.in_last_epoch if rule.keeps == "last" else value > self.best.get(stage, -1.0):
            self.best[stage] = value
            self._check(trainer)
            self._save(trainer, self.path_of_best(stage), weights_only=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._save_last(trainer, trainer.current_epoch + 1, 0)
        (stop,) = self._agreed(trainer, self.request.number)
        if stop:
            raise Stopped(stop)  # after the last epoch too: the same command evaluates

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.request.deferred = False
        if self.request.number:
            raise Stopped(self.request.number)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        self.request.deferred = False

    def _agreed(self, trainer: Trainer, *numbers: int) -> list[int]:
        """The highest of each number in any process of the run.

        Where there are several, all learn at the step's end of a loss that is not a number: one of them can neither
        go on nor end alone.
        """
        if trainer.world_size == 1:
            return list(map(int, numbers))
        bad = torch.tensor(-1) if self._bad_step is None else self._bad_step
        device = trainer.strategy.root_device
        found = torch.cat([bad.to(device).view(1), torch.tensor(numbers, device=device)])
        step, *agreed = trainer.strategy.reduce(found, reduce_op="max").tolist()
        if step >= 0:
            self._refuse(trainer, step)
        return agreed

    def _save_last(self, trainer: Trainer, epoch: int, batch: int) -> None:
        self._check(trainer)
        self.position = (epoch, batch)
        self._save(trainer, self.folder / "last.ckpt", weights_only=False)
        self._saved = time.monotonic()

    def _save(self, trainer: Trainer, path: Path, weights_only: bool) -> None:
        trainer.save_checkpoint(path, weights_only=weights_only)

    def _watch(self, trainer: Trainer, loss: torch.Tensor) -> None:
        """Remember the first step whose loss is not a number; checked at once on the CPU, every 50 steps on a GPU, for
        each check waits for the device."""
        step = trainer.global_step - 1
        if self._bad_step is None:
            self._bad_step = torch.full((), -1, device=loss.device)
        bad = ~torch.isfinite(loss.detach()) & (self._bad_step < 0)
        self._bad_step = torch.where(bad, step, self._bad_step)
        if trainer.world_size == 1 and (loss.device.type == "cpu" or step % 50 == 49):
            self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if self._bad_step is not None and (step := int(self._bad_step)) >= 0:
            self._refuse(trainer, step)

    def _refuse(self, trainer: Trainer, step: int) -> None:
        steps = int(trainer.num_training_batches)
        rows = self.batches.global_batches(step // steps)[step % steps]
        raise UserError(
            f"the loss of step {step} is not a number (stage {self.stages.stage.name}, epoch {step // steps + 1}, "
            "images " + " ".join(self.ids[row] for row in rows[:8]) + (" …)" if len(rows) > 8 else ")"),
            f"the last good checkpoint is kept; lower schedule.{self.stages.stage.name}.lr or the losses' weights",
        )
