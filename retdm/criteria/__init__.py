"""Criteria of multi-label classification: pure functions of numpy arrays."""

from retdm.criteria.bands import BANDS, Band, by_band
from retdm.criteria.confusion import Confusion, confusion
from retdm.criteria.evaluate import CRITERIA, LARGER_IS_BETTER, Evaluation, evaluate
from retdm.criteria.instances import INSTANCE_CRITERIA, evaluate_instances
from retdm.criteria.intervals import (
    LEVEL,
    Difference,
    Interval,
    Intervals,
    bootstrap_intervals,
    intervals_of,
    paired_difference,
)
from retdm.criteria.mistakes import worst_decisions
from retdm.criteria.resampling import RESAMPLES, Resampled, resample

__all__ = [
    "BANDS",
    "CRITERIA",
    "INSTANCE_CRITERIA",
    "LARGER_IS_BETTER",
    "LEVEL",
    "RESAMPLES",
    "Band",
    "Confusion",
    "Difference",
    "Evaluation",
    "Interval",
    "Intervals",
    "Resampled",
    "bootstrap_intervals",
    "by_band",
    "confusion",
    "evaluate",
    "evaluate_instances",
    "intervals_of",
    "paired_difference",
    "resample",
    "worst_decisions",
]
