"""Decision of labels from scores by a trained run: its own rule or another, at the threshold that the run gives it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from retdm.criteria.arrays import Bools
from retdm.decisions.calibration import Calibration, check_calibration, check_kind
from retdm.decisions.rules import Rule, Threshold, rule_of
from retdm.errors import UserError
from retdm.methods.base import Method
from retdm.runs.folder.paths import RunFolder, shown
from retdm.runs.folder.rows import chosen_on_of
from retdm.settings.types import fits
from retdm.training.evaluation import own_thresholds


class Decision(NamedTuple):
    """How scores become labels.

    Attributes:
        rule: of decision.
        threshold: of the rule: a number, one a label, or None.
    """

    rule: Rule
    threshold: Threshold

    def sets(self, scores: np.ndarray) -> Bools:
        """The label sets (n, L) of scores (n, L), calibrated where the run calibrates."""
        return self.rule.apply(scores, self.threshold)

    @property
    def words(self) -> str:
        """The labels that it predicts."""
        return self.rule.in_words(self.threshold)


def decision_of_run(
    run: RunFolder, name: str, method: Method, description: Mapping[str, Any], *, refit: bool
) -> Decision:
    """A rule at the threshold that a trained run gives it: its own, or one chosen on what the run keeps for that.

    Args:
        run: its folder.
        name: of the rule.
        method: of the run, with its weights.
        description: of the method, in the run's checkpoint: ``threshold`` and ``decision`` where it was evaluated.
        refit: the run is trained on its validation split too.

    Raises:
        UserError: there is no such rule, or the run has nothing to choose its threshold on.
    """
    rule = rule_of(name)
    if rule.chosen_on is None:
        return Decision(rule, rule.fixed)
    if rule.chosen_on == "training":
        return Decision(rule, own_thresholds(method))
    if not rule.needs_rows:
        return Decision(rule, _threshold(run, description))
    found: Any = description.get("decision")
    if fits(found, dict[str, Any]) and found.get("rule") == rule.name:
        return Decision(rule, rule.check(found.get("threshold"), len(method.labels)).tolist())
    how = calibration_of_run(run, method, description)
    return Decision(rule, chosen_on_of(run, f"decide={rule.name}", refit=refit).choose(rule, how))


def calibration_of_run(run: RunFolder, method: Method, description: Mapping[str, Any]) -> Calibration | None:
    """The calibration of a trained run's scores; None where it has none.

    Args:
        run, method, description: as of :func:`decision_of_run`.

    Raises:
        UserError: the run is to have one, and has not reached its end; or it is none.
    """
    kind = check_kind(method.calibrate)
    found: Any = description.get("decision")
    how = found.get("calibration") if isinstance(found, dict) else None
    if kind is not None and how is None:
        raise UserError(
            f"calibrate={kind}: {shown(run.best)} has no calibration, for its run has not reached its end",
            "repeat its training command",
        )
    return check_calibration(how, len(method.labels))


def _threshold(run: RunFolder, description: Mapping[str, Any]) -> float:
    """The one threshold of a run."""
    threshold: Any = description.get("threshold")
    if not fits(threshold, float):
        raise UserError(
            f"decide=validation: {shown(run.best)} has no threshold, for its run has not reached its end",
            "repeat its training command; or choose another rule, such as half",
        )
    return float(threshold)
