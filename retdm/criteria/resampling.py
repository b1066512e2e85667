"""Criteria of resamples of the images. Notation: n images, L labels, B resamples.

A resample draws n of the n images with replacement and computes a criterion anew. Here it is a row of weights: how
often each image was drawn. Sums over images become products of matrices, and the average precision of a label takes one
sort and sums between its positives. Two sets of scores of the same images have the same resamples, so that differences
between them can be resampled too.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retdm.criteria import calibration, counts, ranking
from retdm.criteria.arrays import Bools, Floats, as_bool, probabilities, relevant_and_known
from retdm.criteria.counts import Tally
from retdm.criteria.evaluate import CRITERIA
from retdm.criteria.ranking_average_precision import average_precisions

RESAMPLES = 2000
AT_ONCE = 400_000  # weights: so many stay in a processor's cache
OF_LABELS = ("P", "R", "F1", "AP")

Weights = NDArray[np.float32]  # (some of B, n) whole numbers; their sums are exact below 2^24


class Resampled(NamedTuple):
    """Criteria of all images, and of each resample; NaN where one is undefined.

    Attributes:
        criteria: by name, (1 + B,), that of all images first.
        per_label: of ``P``, ``R``, ``F1`` and ``AP``: (1 + B, L).
    """

    criteria: dict[str, Floats]
    per_label: dict[str, Floats]


def resample(
    scores: ArrayLike,
    target: ArrayLike,
    known: ArrayLike,
    predicted: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Resampled:
    """Compute every criterion of all images and of resamples of them, of the same resamples; a function of its
    arguments alone. The bins of the calibration error stay where all images cut them.

    Args:
        scores: (n, L) probabilities in [0, 1].
        target: (n, L) {0, 1}; read in known cells only.
        known: (n, L) bool; an unknown cell counts in no criterion.
        predicted: (n, L) bool, the decided label sets (`decide`).
        resamples: B, at least 1.
        seed: of the drawing, which is the same for every set of n images.

    Raises:
        ValueError: scores outside [0, 1] or NaN, shapes that differ, no resample.
    """
    if resamples < 1:
        raise ValueError(f"resamples={resamples}: at least one is needed")
    values = probabilities(scores)
    relevant, is_known = relevant_and_known(target, known, values.shape)
    n, labels = values.shape
    if n == 0:
        nothing = np.full((1 + resamples, labels), np.nan)
        return Resampled(dict.fromkeys(CRITERIA, np.full(1 + resamples, np.nan)), dict.fromkeys(OF_LABELS, nothing))
    of_images = _of_images(values, relevant, is_known, predicted)
    chosen = as_bool("predicted", predicted, values.shape) & is_known
    cells = [part.astype(np.float32) for part in (relevant & chosen, chosen, relevant)]
    label_cells = list(zip(values.T, relevant.T, is_known.T, strict=True))
    steps = [Steps.of(*column) for column in label_cells]
    bins = np.stack([calibration.in_bins(column, given) for column, _, given in label_cells], axis=1)  # (n, L, bins)
    gaps = (bins * (values - relevant)[:, :, None]).reshape(n, -1)
    given = is_known.astype(np.float64)
    of_cells = {
        "brier_score": calibration.squares(values, relevant),
        "log_loss": calibration.surprises(values, relevant),
    }

    def values_of(weights: Weights) -> Resampled:
        tally = Tally(*(np.rint(weights @ part).astype(np.int64) for part in cells))
        overall = Tally(*(part.sum(axis=1, keepdims=True) for part in tally))
        by_label = {key: of(tally) for key, of in (("P", counts.precision), ("R", counts.recall), ("F1", counts.f1))}
        by_label["AP"] = np.stack([step.average_precision(weights) for step in steps], axis=1)
        criteria = {
            **of_labels(by_label),
            "O-P": counts.precision(overall)[:, 0],
            "O-R": counts.recall(overall)[:, 0],
            "O-F1": counts.f1(overall)[:, 0],
            "calibration_error": _means(_weighted(weights, gaps, given, calibration.BINS)),
            **{name: _means(_weighted(weights, each * given, given)) for name, each in of_cells.items()},
            **{name: _weighted(weights, above, below) for name, (above, below) in of_images.items()},
        }
        return Resampled({**criteria, "coverage_normalised": criteria["coverage"] / labels}, by_label)

    found = [values_of(weights) for weights in (np.ones((1, n), np.float32), *_resamples(n, resamples, seed))]
    return Resampled(
        {name: np.concatenate([each.criteria[name] for each in found]) for name in found[0].criteria},
        {name: np.concatenate([each.per_label[name] for each in found]) for name in OF_LABELS},
    )


def of_labels(per_label: Mapping[str, Floats]) -> dict[str, Floats]:
    """The criteria that are means over labels, of values (rows, labels) of each label: (rows,)."""
    p, r = _means(per_label["P"]), _means(per_label["R"])
    return {
        "C-P": p,
        "C-R": r,
        "C-F1": _means(per_label["F1"]),
        "C-F1_of_means": 2 * p * r / np.where(p + r > 0, p + r, 1),
        "mAP": _means(per_label["AP"]),
    }


class Steps(NamedTuple):
    """A label's known images in descending order of score, for its average precision under any weights.

    Images of one score are taken in together. Notation: P positives, E distinct scores of positives.

    Attributes:
        order: int64, images down to the lowest positive.
        starts: int64 (E,), places in ``order`` where what comes in with each of these scores begins.
        positives: int64 (P,), the positives among them, in order.
        positive_starts: int64 (E,), the same of ``positives``.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    positives: NDArray[np.int64]
    positive_starts: NDArray[np.int64]

    @classmethod
    def of(cls, scores: Floats, relevant: Bools, known: Bools) -> "Steps":
        """From one label's ``scores``, ``relevant`` and ``known``, (n,) each."""
        rows = np.flatnonzero(known)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        places = np.flatnonzero(relevant[rows])
        levels, first = np.unique(-scores[rows[places]], return_index=True)
        ends = np.searchsorted(-scores[rows], levels, side="right")  # behind the last image of the same score
        last = ends[-1] if ends.size else 0
        return cls(rows[:last], np.append(0, ends[:-1])[: ends.size], rows[places], first)

    def average_precision(self, weights: Weights) -> Floats:
        """(rows of ``weights``,); NaN where no positive has a weight."""
        if not self.positives.size:
            return np.full(len(weights), np.nan)
        images = np.add.reduceat(np.take(weights, self.order, axis=1), self.starts, axis=1)
        hits = np.add.reduceat(np.take(weights, self.positives, axis=1), self.positive_starts, axis=1)
        precision = hits.cumsum(axis=1, dtype=np.float64) / np.maximum(images.cumsum(axis=1, dtype=np.float64), 1)
        total = hits.sum(axis=1, dtype=np.float64)
        return np.where(total > 0, (hits * precision).sum(axis=1) / np.maximum(total, 1), np.nan)


def _of_images(scores: Floats, relevant: Bools, known: Bools, predicted: ArrayLike) -> dict[str, tuple[Floats, Floats]]:
    """Criteria that are a ratio of sums over images: numerator and denominator of each image, (n,) both."""
    c, r = counts.count(predicted, relevant, known), ranking.ranks(scores, relevant, known)
    wrong = c.images.predicted + c.images.relevant - 2 * c.images.hits
    means = {
        "example_F1": counts.f1(c.images),
        "ranking_loss": ranking.wrong_pairs(r),
        "coverage": ranking.depth(r),
        "one_error": ranking.top_is_wrong(r),
        "average_precision": average_precisions(r),
    }
    pairs = {name: (np.nan_to_num(values), (~np.isnan(values)).astype(np.float64)) for name, values in means.items()}
    return {**pairs, "hamming_loss": (wrong.astype(np.float64), known.sum(axis=1, dtype=np.float64))}


def _resamples(n: int, count: int, seed: int) -> Iterator[Weights]:
    """How often each of n images is drawn in each of ``count`` resamples, some resamples at a time."""
    generator = np.random.default_rng(seed)
    rows = max(1, AT_ONCE // n)
    for start in range(0, count, rows):
        size = min(rows, count - start)
        drawn = generator.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float32)


def _weighted(weights: Weights, above: Floats, below: Floats, parts: int = 1) -> Floats:
    """A ratio of sums over images; its numerator may come in so many ``parts``, of which sizes are added."""
    down, up = weights @ below, weights @ above
    if parts > 1:
        up = np.abs(up).reshape(*down.shape, parts).sum(axis=-1)
    return np.where(down > 0, up / np.where(down > 0, down, 1), np.nan)


def _means(values: Floats) -> Floats:
    """Mean of the defined values of each row; NaN where there is none."""
    defined = ~np.isnan(values)
    number = defined.sum(axis=1)
    return np.where(number > 0, np.where(defined, values, 0).sum(axis=1) / np.maximum(number, 1), np.nan)
