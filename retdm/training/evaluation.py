"""Criteria of the validation split, computed at the end of each epoch of training."""

from typing import Any, cast

import numpy as np
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities.types import STEP_OUTPUT

from retdm.batch import Batch
from retdm.decisions import best_threshold
from retdm.decisions.rules import Threshold, rule_of
from retdm.errors import UserError
from retdm.methods.base import Method, Predictions
from retdm.methods.deep import DeepMethod
from retdm.training.criteria_metric import MultilabelCriteria


class Evaluation(Callback):
    """Collects what a validation predicts and logs its criteria.

    Attributes:
        predictions: index, scores, target and known of the last validation, of all processes.

    Raises:
        UserError: a score is not a number.
    """

    criteria: MultilabelCriteria

    def __init__(self) -> None:
        self.predictions: dict[str, np.ndarray] = {}

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.criteria = MultilabelCriteria(pl_module.labels, pl_module.decide).to(pl_module.device)

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
        rows: Predictions = result["predictions"]
        self.criteria.update(rows.scores, rows.target, rows.known, rows.index)
        values = {f"validation/{name}": value for name, value in {**result["losses"], "loss": result["loss"]}.items()}
        # Each value is a mean over a global batch, and these are of equal size to one row: count each once.
        pl_module.log_dict(values, on_epoch=True, batch_size=1, sync_dist=True)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        method = cast(DeepMethod, pl_module)
        self.predictions = rows = self.criteria.gathered()
        # The loss of the last step was a number; the weights after it may not be.
        if not np.isfinite(rows["scores"]).all():
            raise UserError(
                f"scores of the validation split are not numbers (stage {method.stage.name}, "
                f"epoch {trainer.current_epoch + 1})",
                f"the last good checkpoint is kept; lower schedule.{method.stage.name}.lr or the losses' weights",
            )
        values = self.criteria.criteria_of(rows)
        logged = {f"validation/{name}": value for name, value in values.items() if value is not None}
        pl_module.log_dict({"validation/mAP": 0.0} | logged)


def threshold_on(rows: dict[str, np.ndarray]) -> float:
    """The threshold that is best on these predictions."""
    return best_threshold(rows["scores"], rows["target"], rows["known"])


def thresholds_on(rows: dict[str, np.ndarray], method: Method) -> Threshold:
    """The threshold of a method's decision rule: chosen on these predictions, or by the method itself.

    Raises:
        UserError: the rule takes thresholds of the method, which chooses none.
    """
    rule = rule_of(method.decide)
    if rule.chosen_on == "training":
        return own_thresholds(method)
    return rule.choose(rows["scores"], rows["target"], rows["known"])


def own_thresholds(method: Method) -> list[float]:
    """The thresholds (L,) that a method has chosen on its training split.

    Raises:
        UserError: it chooses none.
    """
    if not method.has_thresholds:
        raise UserError(f"{type(method).__name__} chooses no thresholds on its training split", "take another decide=…")
    thresholds: list[float] = method.thresholds.tolist()
    return thresholds
