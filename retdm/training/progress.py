"""A run's progress, epoch by epoch: on the screen, in the log, for the logger and in ``history.jsonl``."""

import logging
import time
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities.types import STEP_OUTPUT
from tqdm import tqdm

from retdm.batch import Batch
from retdm.display import screen
from retdm.methods.deep import DeepMethod
from retdm.training.history import append_epoch, keep_epochs
from retdm.training.stages import Stages

log = logging.getLogger(__name__)

SHORT = "{desc} {n_fmt}/{total_fmt} |{bar}| {remaining}{postfix}"  # losses, not steps a second, on a narrow terminal
SHOWN_EVERY = 10  # steps, because showing losses reads them from the device


class EpochLines(Callback):
    """One line an epoch: stage, losses by name, validation criteria, images a second; and the logger's curves.

    It stands before :class:`Stages` in the list of callbacks. The losses summed so far are in the checkpoint, so a run
    that is stopped inside an epoch reports the same means.

    Args:
        stages: of the fit.
        history: the run folder's ``history.jsonl``, which gets each epoch too; None writes none.
    """

    def __init__(self, stages: Stages, history: Path | None = None) -> None:
        self.stages, self.history = stages, history
        self._sums: dict[str, torch.Tensor] = {}  # of this process, over the epoch's steps so far
        self._steps = self._images = 0
        self._since = time.monotonic()
        self._validated = 0.0
        self._trainer: Trainer | None = None

    def state_dict(self) -> dict[str, Any]:
        # One checkpoint serves all processes, so it has the mean over them: each goes on from it.
        return {
            "steps": self._steps,
            "sums": {name: self._mean(total.clone()).cpu() for name, total in self._sums.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._steps, self._sums = state["steps"], dict(state["sums"])

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self._trainer = trainer

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if self.history is not None and trainer.is_global_zero:
            keep_epochs(self.history, sum(stage["epochs"] for stage in self.stages.history))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._images, self._since, self._validated = 0, time.monotonic(), 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: STEP_OUTPUT, batch: Batch, batch_idx: int
    ) -> None:
        result = cast(dict[str, Any], outputs)
        method = cast(DeepMethod, pl_module)
        values = {**result["losses"], **method.diagnostics, "loss": result["loss"].detach()}
        self._steps += 1
        self._images += len(batch.index) * trainer.world_size
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros(())).to(value.device) + value
        if self._steps > 1 and trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return  # reading values waits for the device
        values = {name: self._mean(value) for name, value in values.items()}
        shown = {name: values[name] for name in result["losses"]}
        method.log_dict(shown, prog_bar=True, logger=False, on_step=True, on_epoch=False)
        if trainer.logger is not None:
            curves = {f"train/{name}": value.item() for name, value in values.items()}
            stage = {"work/lr": self.stages.lr, "work/stage": float(self.stages.index)}
            trainer.logger.log_metrics(curves | stage, step=trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._validated = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        now = time.monotonic()
        seconds = (self._validated or now) - self._since
        means = {name: self._mean(total / self._steps).item() for name, total in self._sums.items()}
        self._sums, self._steps = {}, 0
        method = cast(DeepMethod, pl_module)
        rate = self._images / max(seconds, 1e-9)
        method.log("work/images_per_second", rate)
        self.stages.history[-1]["train_loss"] = means["loss"]
        method.log("train/epoch_loss", means["loss"])
        metrics = trainer.callback_metrics
        words = [
            f"epoch {trainer.current_epoch + 1:3d}",
            f"{self.stages.stage.name}",
            f"lr {self.stages.lr:.1e}",
            *(f"{name} {means[name]:.4f}" for name in method.active),
            f"| validation loss {metrics['validation/loss'].item():.4f}",
            *(
                f"{name} {metrics[f'validation/{name}'].item():.3f}"
                for name in ("mAP", "O-F1")
                if f"validation/{name}" in metrics
            ),
            f"| {rate:.0f} images/s",
        ]
        log.info("%s", "  ".join(words))
        if self.history is not None and trainer.is_global_zero:
            prefix = "validation/"
            append_epoch(
                self.history,
                {
                    "epoch": trainer.current_epoch + 1,
                    "stage": self.stages.stage.name,
                    "rates": {
                        group["name"]: group["lr"]
                        for group in trainer.optimizers[0].param_groups
                        if group["name"].split(".")[0] in self.stages.stage.train
                    },
                    "train": means,
                    "validation": {
                        name.removeprefix(prefix): value.item()
                        for name, value in metrics.items()
                        if name.startswith(prefix)
                    },
                    "seconds": round(now - self._since, 3),
                    "images_per_second": round(rate, 1),
                },
            )
        self._warn_of_collapse(means)

    def _mean(self, value: torch.Tensor) -> torch.Tensor:
        """Over all processes."""
        assert self._trainer is not None
        found: torch.Tensor = self._trainer.strategy.reduce(
            value.to(self._trainer.strategy.root_device), reduce_op="mean"
        )
        return found

    def _warn_of_collapse(self, means: dict[str, float]) -> None:
        """Warn where the metric has collapsed: both ways are as good as chance, and distances have fallen below half of
        those at the stage's start."""
        if "own_distance" not in means:
            return
        start = self.stages.history[-1].setdefault("own_distance_at_start", means["own_distance"])
        at_chance = min(means["way1_over_chance"], means["way2_over_chance"]) > 0.98
        if at_chance and means["own_distance"] < 0.5 * start:
            log.warning(
                "stage %s has collapsed: both ways of the metric stand at chance and distances fell from %.2f to %.2f; "
                "lower method.weights.metric or the rate",
                self.stages.stage.name,
                start,
                means["own_distance"],
            )


class EpochBar(Callback):
    """A bar of an epoch's steps with the losses, then one of its validation; none without a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        method = cast(DeepMethod, pl_module)
        self._open(trainer, f"epoch {trainer.current_epoch + 1} {method.stage.name}", trainer.num_training_batches)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._bar is None or self._bar.disable:
            return
        if batch_idx % SHOWN_EVERY == 0:
            losses = {name: f"{value:.4f}" for name, value in trainer.progress_bar_metrics.items()}
            self._bar.set_postfix(losses, refresh=False)
        self._bar.update(batch_idx + 1 - self._bar.n)  # a resumed epoch begins inside

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._open(trainer, "validation", sum(trainer.num_val_batches))

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        if self._bar is not None:
            self._bar.update()

    def _open(self, trainer: Trainer, title: str, total: float) -> None:
        self._close()
        if trainer.is_global_zero:
            self._bar = screen.bar(title, int(total), bar_format=SHORT)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._close()

    on_train_epoch_end = on_validation_end

    def on_exception(self, *_: Any) -> None:
        self._close()
