"""From scores to label sets: decision rules, and how they choose thresholds. Pure functions of numpy arrays."""

from retdm.decisions.rules import RULES, decide, rule_of
from retdm.decisions.thresholds import best_threshold

__all__ = ["RULES", "best_threshold", "decide", "rule_of"]
