"""Criteria of labels that are frequent in training, and of those that are rare. Notation: L labels.

The limits are those of research on long tails (Liu et al., CVPR 2019; of several labels an image Wu et al., ECCV 2020):
many training images are more than 100, few are fewer than 20.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from retdm.criteria.intervals import LEVEL, Interval, interval
from retdm.criteria.resampling import Resampled, of_labels

BANDS: dict[str, tuple[int, int | None]] = {"many": (101, None), "medium": (20, 100), "few": (0, 19)}
"""Least and greatest number of training images that have a label of the band; None is no limit."""


class Band(TypedDict):
    """The labels of a band.

    Attributes:
        positives: least and greatest number of training images of such a label; None is no limit.
        labels: how many there are.
        criteria: means over them, C-P, C-R, C-F1, C-F1_of_means and mAP; None where no image has one of them.
        intervals: of these.
    """

    positives: tuple[int, int | None]
    labels: int
    criteria: dict[str, float | None]
    intervals: dict[str, Interval | None]


def by_band(found: Resampled, positives: Sequence[int], level: float = LEVEL) -> dict[str, Band]:
    """Compute the criteria that are means over labels for each of `BANDS`.

    Args:
        found: what `resample` gave of the test images.
        positives: of each of the L labels, the training images that have it.
        level: of the intervals, between 0 and 1.

    Raises:
        ValueError: other numbers of labels.
    """
    counts = np.asarray(positives)
    if counts.shape != found.per_label["AP"].shape[1:]:
        raise ValueError(f"positives has shape {counts.shape}, not {found.per_label['AP'].shape[1:]}")
    bands: dict[str, Band] = {}
    for name, (least, most) in BANDS.items():
        inside = (counts >= least) & (counts <= (np.inf if most is None else most))
        values = of_labels({key: column[:, inside] for key, column in found.per_label.items()})
        bands[name] = {
            "positives": (least, most),
            "labels": int(inside.sum()),
            "criteria": {key: None if np.isnan(column[0]) else float(column[0]) for key, column in values.items()},
            "intervals": {key: interval(column, level) for key, column in values.items()},
        }
    return bands
