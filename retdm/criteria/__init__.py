"""Criteria of multi-label classification: pure functions of numpy arrays."""

from retdm.criteria.evaluate import CRITERIA, LARGER_IS_BETTER, Evaluation, evaluate
from retdm.criteria.instances import INSTANCE_CRITERIA, evaluate_instances
from retdm.criteria.intervals import Interval, Intervals, bootstrap_intervals
from retdm.criteria.mistakes import worst_decisions

__all__ = [
    "CRITERIA",
    "INSTANCE_CRITERIA",
    "LARGER_IS_BETTER",
    "Evaluation",
    "Interval",
    "Intervals",
    "bootstrap_intervals",
    "evaluate",
    "evaluate_instances",
    "worst_decisions",
]
