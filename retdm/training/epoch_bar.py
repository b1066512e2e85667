"""A bar while an epoch goes on."""

from typing import Any, cast

from pytorch_lightning import Callback, Trainer
from tqdm import tqdm

from retdm import screen
from retdm.methods.deep import DeepMethod

SHORT = "{desc} {n_fmt}/{total_fmt} |{bar}| {remaining}{postfix}"  # losses, not steps a second, on a narrow terminal
SHOWN_EVERY = 10  # steps, for to show losses reads them from the device


class EpochBar(Callback):
    """A bar of an epoch's steps with the losses, then one of its validation; where nobody watches, none."""

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

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._open(trainer, "judging", sum(trainer.num_test_batches))

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        if self._bar is not None:
            self._bar.update()

    on_test_batch_end = on_validation_batch_end

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

    on_train_epoch_end = on_test_end = on_validation_end

    def on_exception(self, *_: Any) -> None:
        self._close()
