"""Criteria of multi-label classification: pure functions of numpy arrays, and metrics for training loops over them."""

from typing import TYPE_CHECKING, Any

from retdm.criteria.decide import RULES, decide, rule_of
from retdm.criteria.evaluate import CRITERIA, LARGER_IS_BETTER, Evaluation, evaluate
from retdm.criteria.instances import INSTANCE_CRITERIA, evaluate_instances
from retdm.criteria.intervals import Interval, Intervals, bootstrap_intervals
from retdm.criteria.mistakes import worst_decisions
from retdm.criteria.thresholds import best_threshold

if TYPE_CHECKING:
    from retdm.criteria.metric import MultilabelCriteria, MultilabelCriterion

__all__ = [
    "CRITERIA",
    "INSTANCE_CRITERIA",
    "LARGER_IS_BETTER",
    "RULES",
    "Evaluation",
    "Interval",
    "Intervals",
    "MultilabelCriteria",
    "MultilabelCriterion",
    "best_threshold",
    "bootstrap_intervals",
    "decide",
    "evaluate",
    "evaluate_instances",
    "rule_of",
    "worst_decisions",
]


def __getattr__(name: str) -> Any:
    """The metrics, imported when they are asked for: they need PyTorch and torchmetrics, the functions only numpy."""
    if name not in ("MultilabelCriteria", "MultilabelCriterion"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from retdm.criteria import metric

    return getattr(metric, name)
