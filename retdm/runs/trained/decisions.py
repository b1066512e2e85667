"""Decision of labels from scores: a run's threshold, and its rule in words."""

from contextlib import suppress
from typing import Any

from retdm.errors import UserError
from retdm.methods.base import Method
from retdm.runs.evaluate import OWN, own_thresholds
from retdm.runs.folder.paths import RunFolder, read_json
from retdm.settings.types import fits


def threshold_of(run: RunFolder, rule: str, method: Method) -> float | list[float] | None:
    """The score from which on a label is predicted, or one a label; None where the rule has none.

    Raises:
        UserError: the rule takes the run's threshold, and its ``metrics.json`` has none.
    """
    if rule == OWN:
        return own_thresholds(method)
    if rule != "validation":
        return 0.5 if rule == "half" else None
    found: Any = None
    with suppress(UserError):
        found = read_json(run.metrics)
    threshold: Any = found.get("threshold") if isinstance(found, dict) else None
    if not fits(threshold, float):
        raise UserError(
            f"decide=validation takes its threshold from {run.metrics}, which is not there or has none",
            "let the run reach its end: repeat its training command; or choose another rule, such as half",
        )
    return float(threshold)


def in_plain_words(rule: str, threshold: float | list[float] | None) -> str:
    """The labels that the rule predicts."""
    if rule == "t_criterion":
        return "labels scored 0.5 or more, or else the highest"
    if isinstance(threshold, list):
        return "labels scored at least their own threshold, as chosen in training"
    if threshold is None:
        return "the three highest labels of each image"
    return f"labels scored {threshold:.3g} or more" + (", as chosen on validation" if rule == "validation" else "")
