"""Scores of a whole part, gathered from all processes and judged once."""

from typing import Any, cast

import numpy as np
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities.types import STEP_OUTPUT

from retdm.batch import Batch
from retdm.criteria import best_threshold, decide, evaluate
from retdm.errors import UserError
from retdm.losses import gather_rows
from retdm.methods.base import DeepMethod, Predictions


class Evaluation(Callback):
    """Collects what a validation or test pass predicts; logs the criteria of a validation.

    Attributes:
        predictions: numpy index, scores, target, known of the last pass, in the order of index.

    Raises:
        UserError: a score of the validation part is no number.
    """

    def __init__(self) -> None:
        self.rows: list[Predictions] = []
        self.predictions: dict[str, np.ndarray] = {}

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.rows = []

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        result = cast(dict[str, Any], outputs)
        self.rows.append(result["predictions"])
        values = {f"validation/{name}": value for name, value in {**result["terms"], "loss": result["loss"]}.items()}
        # Each value is a mean over a global batch, and these are of equal size to one row: count each once.
        pl_module.log_dict(values, on_epoch=True, batch_size=1, sync_dist=True)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.rows.append(cast(dict[str, Any], outputs)["predictions"])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        method = cast(DeepMethod, pl_module)
        self._gather()
        rows = self.predictions
        if not np.isfinite(
            rows["scores"]
        ).all():  # the loss of the last step was a number, the weights after it are not
            raise UserError(
                f"scores of the validation part are not numbers (stage {method.stage.name}, "
                f"epoch {trainer.current_epoch + 1})",
                f"the last good checkpoint is kept; lower schedule.{method.stage.name}.lr or the losses' weights",
            )
        predicted = decide(rows["scores"], method.decide, self.threshold_on(rows))
        criteria = evaluate(rows["scores"], rows["target"], rows["known"], method.labels, predicted)["criteria"]
        logged = {f"validation/{name}": value for name, value in criteria.items() if value is not None}
        pl_module.log_dict({"validation/mAP": 0.0} | logged)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._gather()

    @staticmethod
    def threshold_on(rows: dict[str, np.ndarray]) -> float:
        """The threshold that is best on these predictions."""
        return best_threshold(rows["scores"], rows["target"], rows["known"])

    def _gather(self) -> None:
        columns = [gather_rows(torch.cat(column)).cpu().numpy() for column in zip(*self.rows, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        self.predictions = {name: column[order] for name, column in zip(Predictions._fields, columns, strict=True)}
