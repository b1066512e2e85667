"""All criteria of a set of scored images, by name.

`counts` evaluates decided label sets, `ranking` the order of an image's labels, `mean_average_precision` the order of a
label's images, `calibration` scores as probabilities; `decide` makes sets of scores. Notation: n images, L labels.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

from retdm.criteria import calibration, counts, mean_average_precision, ranking, ranking_average_precision
from retdm.criteria.arrays import probabilities, relevant_and_known
from retdm.criteria.instances import INSTANCE_CRITERIA
from retdm.errors import UserError
from retdm.registry import nearest

_OF_COUNTS = {
    "C-P": counts.c_precision,
    "C-R": counts.c_recall,
    "C-F1": counts.c_f1,
    "C-F1_of_means": counts.c_f1_of_means,
    "O-P": counts.o_precision,
    "O-R": counts.o_recall,
    "O-F1": counts.o_f1,
    "example_F1": counts.example_f1,
    "hamming_loss": counts.hamming_loss,
}
_OF_RANKS = {
    "ranking_loss": ranking.ranking_loss,
    "coverage": ranking.coverage,
    "coverage_normalised": ranking.coverage_normalised,
    "one_error": ranking.one_error,
    "average_precision": ranking_average_precision.average_precision,
}
_OF_SCORES = {
    "calibration_error": calibration.calibration_error,
    "brier_score": calibration.brier_score,
    "log_loss": calibration.log_loss,
}

CRITERIA: tuple[str, ...] = (
    "C-P",
    "C-R",
    "C-F1",
    "C-F1_of_means",
    "O-P",
    "O-R",
    "O-F1",
    "example_F1",
    "mAP",
    "hamming_loss",
    "ranking_loss",
    "coverage",
    "coverage_normalised",
    "one_error",
    "average_precision",
    "calibration_error",
    "brier_score",
    "log_loss",
)
"""Every criterion of label sets, in the order of reports."""

LARGER_IS_BETTER: frozenset[str] = frozenset(
    {"C-P", "C-R", "C-F1", "C-F1_of_means", "O-P", "O-R", "O-F1", "example_F1", "mAP", "average_precision"}
    | set(INSTANCE_CRITERIA)
)
"""The criteria that improve as they grow; the others are losses."""


class Evaluation(TypedDict):
    """The result of `evaluate`; None stands for an undefined value (null in JSON)."""

    criteria: dict[str, float | None]
    per_label: dict[str, dict[str, float | int | None]]
    left_out: dict[str, int]


def check_criterion(name: str) -> None:
    """Raise ``UserError`` where there is no criterion of that name."""
    if name not in CRITERIA:
        raise UserError(f"there is no criterion {name!r}", nearest(name, CRITERIA))


def evaluate(
    scores: ArrayLike, target: ArrayLike, known: ArrayLike, names: Sequence[str], predicted: ArrayLike
) -> Evaluation:
    """Compute every criterion of n images over L labels.

    Args:
        scores: (n, L) probabilities in [0, 1].
        target: (n, L) {0, 1}; read in known cells only.
        known: (n, L) bool; an unknown cell counts in no criterion.
        names: the L labels, all different.
        predicted: (n, L) bool, the decided label sets (`decide`).

    Returns:
        ``criteria``: value by name, in the order of `CRITERIA`.
        ``per_label``: by label, ``P``, ``R``, ``F1``, ``AP`` (None without a positive), and how many images are
        ``positives`` and how many are ``predicted`` to have it.
        ``left_out``: ``rows_without_label`` (in no ranking criterion, nor in example_F1), ``rows_with_all_labels``
        (every known label relevant; in no ranking criterion but coverage), ``labels_without_positives`` (in no
        C- criterion, nor in mAP), ``unknown_cells``.

    Raises:
        ValueError: scores outside [0, 1] or NaN, shapes that differ, names that repeat, are missing or do not fit.
    """
    values = probabilities(scores)
    relevant, is_known = relevant_and_known(target, known, values.shape)
    if not names:
        raise ValueError("there are no labels: names is empty")
    if len(names) != values.shape[1]:
        raise ValueError(f"{len(names)} names for the {values.shape[1]} labels of scores")
    if len(set(names)) != len(names):
        raise ValueError(f"names repeat: {sorted({name for name in names if list(names).count(name) > 1})}")

    c = counts.count(predicted, relevant, is_known)
    r = ranking.ranks(values, relevant, is_known)
    label_ap = mean_average_precision.label_average_precision(values, relevant, is_known)
    found: dict[str, float | None] = {
        **{name: criterion(c) for name, criterion in _OF_COUNTS.items()},
        **{name: criterion(r) for name, criterion in _OF_RANKS.items()},
        **{name: criterion(values, relevant, is_known) for name, criterion in _OF_SCORES.items()},
        "mAP": mean_average_precision.mean_average_precision(label_ap),
    }

    columns = {"P": counts.precision(c.labels), "R": counts.recall(c.labels), "F1": counts.f1(c.labels), "AP": label_ap}
    per_label: dict[str, dict[str, float | int | None]] = {
        label: {
            **{key: None if np.isnan(column[i]) else float(column[i]) for key, column in columns.items()},
            "positives": int(c.labels.relevant[i]),
            "predicted": int(c.labels.predicted[i]),
        }
        for i, label in enumerate(names)
    }

    empty = r.relevant_count == 0
    return {
        "criteria": {name: found[name] for name in CRITERIA},
        "per_label": per_label,
        "left_out": {
            "rows_without_label": int(empty.sum()),
            "rows_with_all_labels": int((~empty & ~r.has_pairs).sum()),
            "labels_without_positives": int((c.labels.relevant == 0).sum()),
            "unknown_cells": int((~is_known).sum()),
        },
    }
