"""What other decision rules would have given a finished run, from its folder alone. Notation: n images, L labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retdm.criteria import evaluate
from retdm.criteria.calibration import Reliability, reliability
from retdm.criteria.counts import count, precision, recall
from retdm.decisions.calibration import Calibration, Kind, calibrated
from retdm.decisions.conformal import losses
from retdm.decisions.rules import ConformalRule, FloorRule, Rule, Threshold, rule_of
from retdm.errors import UserError
from retdm.report.decisions import decided_by, own_calibration, raw_scores, rule_of_run
from retdm.report.read import Run
from retdm.runs.folder.paths import RunFolder, shown
from retdm.runs.folder.rows import ChosenOn, chosen_on_of, read_chosen_on

TRIED = ("half", "top3", "t_criterion", "validation", "per_label_f1", "precision:.9", "recall:.95", "expected_f1")


@dataclass(frozen=True)
class Reached:
    """How far label sets meet a floor of precision or recall, or keep a risk.

    Attributes:
        overall: precision or recall over all cells, or the mean loss of an image; None where it is undefined.
        labels: number of labels of which it is defined: with a positive and, for precision, a prediction. 0 of a risk.
        meet: how many of these meet the floor.
    """

    overall: float | None
    labels: int = 0
    meet: int = 0


@dataclass(frozen=True)
class Redecided:
    """The test split of a run under a rule.

    Attributes:
        rule: of decision.
        threshold: of the rule; None too where a run of an older version does not say it.
        criteria: of the test split.
        chosen: of a floor or a risk, how far it is met where the thresholds were chosen.
        test: the same on the test split.
    """

    rule: Rule
    threshold: Threshold
    criteria: dict[str, float | None]
    chosen: Reached | None = None
    test: Reached | None = None

    def content(self) -> dict[str, Any]:
        """Plain values for a file."""
        found: dict[str, Any] = {"rule": self.rule.name, "threshold": self.threshold, "test": self.criteria}
        if isinstance(self.rule, FloorRule) and self.chosen and self.test:
            floor = {"criterion": self.rule.floor, "wished": self.rule.least}
            found["floor"] = {**floor, "validation": asdict(self.chosen), "test": asdict(self.test)}
        if isinstance(self.rule, ConformalRule) and self.chosen and self.test:
            risk = {"risk": self.rule.risk, "at_most": self.rule.most}
            found["guarantee"] = {**risk, "validation": self.chosen.overall, "test": self.test.overall}
        return found


def redecided(
    run: Run, names: Sequence[str] = TRIED, kind: Kind | None = None
) -> tuple[list[Redecided], ChosenOn | None]:
    """The test split of a finished run under its own rule, and then under others.

    Args:
        run: with its ``predictions.npz``.
        names: of the other rules; the run's own among them comes once, without a ``kind``.
        kind: of the calibration of scores for the other rules; None leaves them as the run has them.

    Returns:
        A row a rule, and what the run keeps to choose on; None where it keeps nothing and no rule needs it.

    Raises:
        UserError: there is no such rule, the run keeps nothing to choose on, or its predictions cannot be evaluated.
    """
    folder, own = RunFolder(run.folder), rule_of_run(run)
    rules = list(dict.fromkeys(map(rule_of, names)))
    if own is None:
        raise UserError(f"{shown(run.folder)} decides by a rule that is not known", "run it anew with overwrite=true")
    others = [rule for rule in rules if rule != own or kind is not None]
    if taken := [rule.name for rule in others if rule.chosen_on == "training"]:
        raise UserError(
            f"rule={taken[0]}: its thresholds are the method's own, in the checkpoint",
            f"train with method.decide={taken[0]}, or retdm predict run=… decide={taken[0]}",
        )
    needing = [f"decide={rule.name}" for rule in rules if rule.chosen_on == "validation"]
    needing += [] if kind is None else [f"calibrate={kind}"]
    chosen_on = _chosen_on(run, needing[0]) if needing else read_chosen_on(folder)
    rows = run.predictions()
    try:
        decision = (run.metrics or {}).get("decision") or {}
        found = [_row(run, rows, own, decision.get("threshold"), decided_by(run, rows), chosen_on)]
        how = own_calibration(run) if kind is None or chosen_on is None else chosen_on.calibration(kind)
        rows = rows | {"scores": calibrated(how, raw_scores(rows))}
        for rule in others:
            threshold = chosen_on.choose(rule, how) if chosen_on else rule.fixed
            predicted = rule.apply(rows["scores"], threshold)
            found.append(_row(run, rows, rule, threshold, predicted, chosen_on, how))
    except ValueError as error:
        raise UserError(f"{shown(folder.predictions)} cannot be evaluated: {error}") from error
    return found, chosen_on


@dataclass(frozen=True)
class Recalibrated:
    """The scores of a run's test split under a calibration.

    Attributes:
        how: None of the scores as the network gives them.
        criteria: those of :mod:`retdm.criteria.calibration`, mAP and more.
        reliability: None of a split without images.
    """

    how: Calibration | None
    criteria: dict[str, float | None]
    reliability: Reliability | None


def recalibrated(run: Run, kinds: Sequence[Kind]) -> tuple[list[Recalibrated], ChosenOn]:
    """The test split of a finished run as it is scored, and then under calibrations of some kinds.

    Raises:
        UserError: the run keeps nothing to fit them to.
    """
    chosen_on, rows = _chosen_on(run, f"calibrate={kinds[0]}"), run.predictions()
    cells = rows["target"], rows["known"].astype(bool)
    found = []
    for how in (None, *map(chosen_on.calibration, kinds)):
        scores = calibrated(how, raw_scores(rows))
        criteria = evaluate(scores, *cells, run.labels, scores >= 0.5)["criteria"]
        found.append(Recalibrated(how, criteria, reliability(scores, *cells)))
    return found, chosen_on


def _chosen_on(run: Run, what: str) -> ChosenOn:
    return chosen_on_of(RunFolder(run.folder), what, refit=bool(run.config["identity"].get("refit")))


def _row(
    run: Run,
    rows: dict[str, NDArray[Any]],
    rule: Rule,
    threshold: Threshold,
    predicted: NDArray[np.bool_],
    chosen_on: ChosenOn | None,
    how: Calibration | None = None,
) -> Redecided:
    known = rows["known"].astype(bool)
    criteria = evaluate(rows["scores"], rows["target"], known, run.labels, predicted)["criteria"]
    if not isinstance(rule, FloorRule | ConformalRule) or chosen_on is None or threshold is None:
        return Redecided(rule, threshold, criteria)
    scores, target, given = chosen_on.cells
    chosen = _reached(rule, rule.apply(calibrated(how, scores), threshold), target, given)
    return Redecided(rule, threshold, criteria, chosen, _reached(rule, predicted, rows["target"], known))


def _reached(
    rule: FloorRule | ConformalRule, predicted: NDArray[Any], target: NDArray[Any], known: NDArray[Any]
) -> Reached:
    if isinstance(rule, ConformalRule):
        return Reached(float(losses(predicted, target, known, rule.risk).mean()) if len(predicted) else None)
    counts, of = count(predicted, target, known), precision if rule.floor == "precision" else recall
    there = counts.labels.relevant > 0
    if rule.floor == "precision":
        there &= counts.labels.predicted > 0
    overall, labels = of(counts.overall)[0], of(counts.labels)[there]
    return Reached(None if np.isnan(overall) else float(overall), len(labels), int((labels >= rule.least).sum()))
