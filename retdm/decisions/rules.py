"""From scores to label sets: decision rules, by name. Notation: n images, L labels.

- ``half``: every label scored at least one half.
- ``top<k>``, as ``top3``: the k highest.
- ``t_criterion``: as ``half``, and where that leaves none, the highest.
- ``expected_f1``: the set with the greatest expected F1.
- ``validation``: every label scored at least the one threshold with the greatest O-F1 on validation.
- ``per_label_f1``: every label scored at least its own threshold with the greatest F1 on validation.
- ``precision:.9``: the same at the threshold with the greatest recall among those with this precision.
- ``recall:.95``: the same at the threshold with the greatest precision among those with this recall.
- ``missed:.1``: every label scored at least the one threshold under which at most this share of an image's labels is
  missed on average, guaranteed (`retdm.decisions.conformal`).
- ``extra:.05``: the same of the labels that an image lacks and that are predicted.
- ``train_threshold``: every label scored at least its own threshold, which the method has chosen on the training split.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from retdm.criteria.arrays import Bools, Floats, probabilities
from retdm.decisions.conformal import Risk, conformal_threshold
from retdm.decisions.expected_f1 import expected_f1_sets
from retdm.decisions.thresholds import NEVER, Floor, best_threshold, f1_thresholds, floor_thresholds
from retdm.errors import UserError
from retdm.registry import nearest

Threshold = float | list[float] | None  # one for all labels, one a label, or none


@dataclass(frozen=True)
class Rule:
    """A decision rule.

    Attributes:
        name: by which `rule_of` finds it.
        chosen_on: what its threshold is chosen on: predictions of the ``validation`` split, or by the method itself its
            ``training`` split; None where it has none to choose.
        per_label: it has a threshold a label.
        fixed: its threshold where that is always the same.
    """

    name: str
    chosen_on: Literal["validation", "training"] | None = None
    per_label: bool = False
    fixed: float | None = None

    @property
    def needs_rows(self) -> bool:
        """Its threshold is chosen on scored images; that of ``validation`` alone stands in every run."""
        return self.chosen_on == "validation" and self.name != "validation"

    def choose(self, scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> Threshold:
        """The threshold that is best on scored images: (n, L) in [0, 1], {0, 1} and bool; unknown cells count nowhere.

        Raises:
            ValueError: scores outside [0, 1] or NaN, shapes that differ.
        """
        return self.fixed

    def apply(self, scores: ArrayLike, threshold: ArrayLike | None = None) -> Bools:
        """Decide label sets (n, L) of ``scores`` (n, L) in [0, 1] at the rule's threshold: a number, or (L,).

        Raises:
            ValueError: scores outside [0, 1] or NaN.
        """
        values = probabilities(scores)
        if (threshold := self.fixed if threshold is None else threshold) is None:
            raise ValueError(f"{self.name} has no threshold")
        return values >= np.asarray(threshold)

    def in_words(self, threshold: Threshold) -> str:
        """The labels that it predicts."""
        if self.per_label:
            return f"labels scored at least their own threshold, {self._how()}"
        where = ", as chosen on validation" if self.chosen_on else ""
        return f"labels scored {threshold:.3g} or more{where}"

    def check(self, threshold: Any, labels: int) -> Floats:
        """A threshold of this rule for L labels as an array.

        Raises:
            UserError: it is none.
        """
        values = np.asarray(threshold, dtype=np.float64)
        shape = (labels,) if self.per_label else ()
        if values.shape != shape or not ((values >= 0) & (values <= NEVER)).all():
            what = f"{labels} numbers, one a label," if self.per_label else "one number"
            raise UserError(f"threshold={threshold} is not {what} in [0, 1]", f"of decide={self.name!r}")
        return values

    def _how(self) -> str:
        return "as chosen in training"


class _Top(Rule):
    """The k highest of each row, at a tie the earlier label; all where L < k. CNN-RNN's rule, k = 3 (Wang et al., CVPR
    2016)."""

    @property
    def k(self) -> int:
        return int(self.name.removeprefix("top"))

    def apply(self, scores: ArrayLike, threshold: ArrayLike | None = None) -> Bools:
        values = probabilities(scores)
        chosen = np.zeros(values.shape, dtype=bool)
        np.put_along_axis(chosen, np.argsort(-values, axis=1, kind="stable")[:, : self.k], True, axis=1)
        return chosen

    def in_words(self, threshold: Threshold) -> str:
        return "the highest label of each image" if self.k == 1 else f"the {self.k} highest labels of each image"


class _Half(Rule):
    def apply(self, scores: ArrayLike, threshold: ArrayLike | None = None) -> Bools:
        return probabilities(scores) >= 0.5


class _TCriterion(_Half):
    """As ``half``, and where that leaves none, the highest of the row, at a tie the earlier label (Boutell et al.,
    Pattern Recognition 2004; MIMLSVM's rule)."""

    def apply(self, scores: ArrayLike, threshold: ArrayLike | None = None) -> Bools:
        chosen, values = super().apply(scores), probabilities(scores)
        none = ~chosen.any(axis=1)
        chosen[none, values[none].argmax(axis=1)] = True
        return chosen

    def in_words(self, threshold: Threshold) -> str:
        return "labels scored 0.5 or more, or else the highest"


class _ExpectedF1(Rule):
    """See `retdm.decisions.expected_f1`."""

    def apply(self, scores: ArrayLike, threshold: ArrayLike | None = None) -> Bools:
        return expected_f1_sets(scores)

    def in_words(self, threshold: Threshold) -> str:
        return "of each image the set of labels with the greatest expected F1"


class _Validation(Rule):
    """See `retdm.decisions.thresholds.best_threshold`."""

    def choose(self, scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> Threshold:
        return best_threshold(scores, target, known)


class _PerLabelF1(Rule):
    """See `retdm.decisions.thresholds.f1_thresholds`."""

    def choose(self, scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> Threshold:
        found: list[float] = f1_thresholds(scores, target, known).tolist()
        return found

    def _how(self) -> str:
        return "which gave each the greatest F1 on validation"


@dataclass(frozen=True)
class FloorRule(Rule):
    """A rule with a floor of precision or recall for every label, see `retdm.decisions.thresholds.floor_thresholds`.

    Attributes:
        floor: what must be reached.
        least: the floor, in (0, 1].
    """

    floor: Floor = "precision"
    least: float = 1.0

    def choose(self, scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> Threshold:
        found: list[float] = floor_thresholds(scores, target, known, self.floor, self.least).tolist()
        return found

    def _how(self) -> str:
        return f"for a {self.floor} of at least {self.least:g} on validation"


@dataclass(frozen=True)
class ConformalRule(Rule):
    """A rule that keeps a risk on average, see `retdm.decisions.conformal`.

    Attributes:
        risk: whose expectation is kept.
        most: what it may be, in (0, 1).
    """

    risk: Risk = "missed"
    most: float = 0.1

    def choose(self, scores: ArrayLike, target: ArrayLike, known: ArrayLike) -> Threshold:
        return conformal_threshold(scores, target, known, self.risk, self.most)

    def in_words(self, threshold: Threshold) -> str:
        what = "an image's labels missed" if self.risk == "missed" else "the labels that an image lacks predicted"
        return f"labels scored {threshold:.3g} or more, for at most {self.most:.3g} of {what} on average"


_RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        _Half("half", fixed=0.5),
        _TCriterion("t_criterion"),
        _ExpectedF1("expected_f1"),
        _Validation("validation", "validation"),
        _PerLabelF1("per_label_f1", "validation", per_label=True),
        Rule("train_threshold", "training", per_label=True),
    )
}
RULES = (*_RULES, "top3", "precision:.9", "recall:.95", "missed:.1", "extra:.05")
"""Names of rules; those with a number stand for all such."""


def rule_of(name: str) -> Rule:
    """The decision rule of a name.

    Raises:
        UserError: there is none.
    """
    text = str(name)
    if text in _RULES:
        return _RULES[text]
    if re.fullmatch(r"top[1-9]\d{0,5}", text):
        return _Top(text)
    for kind in ("precision", "recall", "missed", "extra"):
        if text.startswith(kind):
            return _rule_with_number(kind, text)
    raise UserError(f"there is no decision rule {text!r}", nearest(text, RULES))


def _rule_with_number(kind: Floor | Risk, text: str) -> Rule:
    found = re.fullmatch(rf"{kind}:(\d*\.?\d+|1\.)", text)
    number = float(found[1]) if found else 0.0
    is_floor = kind in ("precision", "recall")
    if not (0 < number <= 1 if is_floor else 0 < number < 1):
        example = next(rule for rule in RULES if rule.startswith(kind))
        upper = "at most 1" if is_floor else "below 1"
        raise UserError(
            f"there is no decision rule {text!r}", f"{example} is one, its number above 0 and {upper}, after a colon"
        )
    name = f"{kind}:{number:.15g}"
    if kind == "precision" or kind == "recall":
        return FloorRule(name, "validation", per_label=True, floor=kind, least=number)
    return ConformalRule(name, "validation", risk=kind, most=number)


def check_goes_with(rule: Rule, kind: str | None) -> None:
    """Raise ``UserError`` where a rule's guarantee is lost to a calibration that is fitted to the same images."""
    if isinstance(rule, ConformalRule) and kind in ("platt", "isotonic"):
        raise UserError(
            f"{rule.name} guarantees nothing with calibrate={kind}, which moves each label's scores by the same images",
            "calibrate=temperature, which keeps the order of all scores, or calibrate=none",
        )


def decide(scores: ArrayLike, rule: str, threshold: ArrayLike | None = 0.5) -> Bools:
    """Decide the label set of every image by a named rule.

    Args:
        scores: (n, L) in [0, 1].
        rule: name of one, see `retdm.decisions.rules`.
        threshold: a number for ``validation``, such as `best_threshold` of the validation split; (L,) for rules with a
            threshold a label, such as their ``choose`` gives them. Other rules do not read it.

    Returns:
        (n, L) bool.

    Raises:
        UserError: unknown rule.
        ValueError: scores outside [0, 1] or NaN.
    """
    return rule_of(rule).apply(scores, threshold)
