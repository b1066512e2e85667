"""What the criteria say in words, and the first lines of a run's page."""

from typing import NamedTuple

from retdm.criteria import Interval
from retdm.report.one_run.evaluated import Evaluated
from retdm.report.tables import number

IN_WORDS = {
    "C-P": "of the images that are given a label, the share that have it; mean over labels",
    "C-R": "of the images that have a label, the share that are given it; mean over labels",
    "C-F1": "balance of these two for each label; mean over labels",
    "C-F1_of_means": "balance of C-P and C-R",
    "O-P": "of all labels given, the share that are right",
    "O-R": "of all labels that images have, the share that are found",
    "O-F1": "balance of O-P and O-R",
    "example_F1": "the same balance for the labels of each image; mean over images",
    "mAP": "how far up its own images stand when all are ordered by a label's score; mean over labels",
    "hamming_loss": "of all decisions, the share that are wrong",
    "ranking_loss": "how often a label that an image lacks scores above one that it has",
    "coverage": "how far down an image's ranking the last of its labels stands, from 0",
    "coverage_normalised": "the same, divided by the number of labels",
    "one_error": "of all images, the share whose highest label is wrong",
    "average_precision": "how far up its own labels stand in an image's ranking; mean over images",
    "calibration_error": "how far scores are from the share of images that have the label; mean over labels",
    "brier_score": "squared distance of scores from the truth, 0 or 1; mean over labels",
    "log_loss": "how surprising the truth is to the scores, in nats; mean over labels",
    "instance_average_precision": "how far up the regions of a label stand among all regions; mean over labels",
    "pointing_accuracy": "of an image's labels, the share whose highest region has the label",
    "instance_iou": "overlap of the regions that are found with the true ones",
}


class Card(NamedTuple):
    """One of the first things to see: a number, what it says, its interval, its name."""

    value: str
    says: str
    interval: str
    name: str


def cards(criteria: dict[str, float | None], of: Evaluated | None) -> list[Card]:
    """The criteria that a reader takes home, those that are defined.

    Args:
        criteria: of the test split.
        of: for their intervals and what chance reaches; None where the run left no predictions.
    """
    intervals = {} if of is None else of.intervals.criteria
    shown = [
        _percent("O-P", "of the labels it gives are right", criteria, intervals),
        _percent("O-R", "of the labels that images have are found", criteria, intervals),
        _percent("one_error", "of images have a right label at the top of their ranking", criteria, intervals),
    ]
    if (value := criteria.get("mAP")) is not None:
        chance = "" if of is None else f", chance about {number(chance_of(of))}"
        says = f"mean average precision of the labels: 1 is perfect{chance}"
        shown.append(Card(number(value), says, between(intervals.get("mAP")), "mAP"))
    return [card for card in shown if card is not None]


def _percent(
    name: str, says: str, criteria: dict[str, float | None], intervals: dict[str, Interval | None]
) -> Card | None:
    value, interval = criteria.get(name), intervals.get(name)
    if value is None:
        return None
    if name == "one_error":  # its complement is easier to read
        value, interval = 1 - value, None if interval is None else Interval(1 - interval.high, 1 - interval.low)
    span = "" if interval is None else f"{_rounded(interval.low)} to {_rounded(interval.high)} %"
    return Card(f"{_rounded(value)} %", says, span, f"1 − {name}" if name == "one_error" else name)


def _rounded(share: float) -> str:
    """In percent; a digit more where the whole number would say all or nothing."""
    return f"{100 * share:.0f}" if share in (0, 1) or 0.005 <= share < 0.995 else f"{100 * share:.1f}"


def between(interval: Interval | None) -> str:
    """``.88 to .93``; nothing where there is none."""
    return "" if interval is None else f"{number(interval.low)} to {number(interval.high)}"


def chance_of(of: Evaluated) -> float | None:
    """The mAP of scores without meaning: the mean frequency of the labels that have a positive, about."""
    positives, cells = of.target.sum(axis=0), of.known.sum(axis=0)
    there = positives > 0
    return float((positives[there] / cells[there]).mean()) if there.any() else None


def of_kind(text: str, kind: str) -> str:
    """A text about images, of bags where the ``kind`` of the data is that."""
    return text if kind == "images" else text.replace("an image", "a bag").replace("image", "bag")
