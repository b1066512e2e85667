"""From scores to label sets: decision rules and how they choose thresholds, and calibration of scores.

Pure functions of numpy arrays.
"""

from retdm.decisions.calibration import calibrated, fit_calibration
from retdm.decisions.rules import RULES, decide, rule_of
from retdm.decisions.thresholds import best_threshold

__all__ = ["RULES", "best_threshold", "calibrated", "decide", "fit_calibration", "rule_of"]
