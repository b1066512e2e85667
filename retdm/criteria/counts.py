"""Criteria of decided label sets, predicted against true. Notation: n images, L labels.

C- criteria average over labels, O- criteria pool every cell, example_F1 averages over images. Precision, recall and F1
are the same three functions throughout, of counts that are summed over the cells of a label, of an image, or all of
them. Unknown cells are in no sum.

One convention holds for all three ways of adding up: where nothing is relevant (a label without positives, an image
without a label, data without either) precision, recall and F1 are undefined, and an undefined value is in no mean.
Where something is relevant and nothing was predicted, precision is 0, so silence never pays; ML-GCN's published
evaluation does the same (Chen et al., CVPR 2019), C2AE's drops such labels from C-P (Yeh et al., AAAI 2017).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from retdm.criteria.arrays import Floats, Ints, as_bool, mean, ratio, relevant_and_known


class Tally(NamedTuple):
    """Cells counted along something: one entry a label, an image, or a single entry for all; int64, one shape."""

    hits: Ints  # relevant and predicted
    predicted: Ints
    relevant: Ints


class Counts(NamedTuple):
    """Counts by label (L,), by image (n,) and over all (1,), and the number of known cells."""

    labels: Tally
    images: Tally
    overall: Tally
    known: int


def count(predicted: ArrayLike, target: ArrayLike, known: ArrayLike) -> Counts:
    """Count the known cells of decisions ``predicted`` (n, L) bool against ``target`` (n, L) {0, 1}.

    ``known`` (n, L) bool: a False cell counts nowhere. ValueError where shapes differ or values are not 0 and 1.
    """
    shape = np.shape(target)
    relevant, is_known = relevant_and_known(target, known, shape)
    chosen = as_bool("predicted", predicted, shape) & is_known

    def along(axis: int) -> Tally:
        return Tally(*(cells.sum(axis=axis, dtype=np.int64) for cells in (relevant & chosen, chosen, relevant)))

    labels = along(0)
    overall = Tally(*(column.sum(keepdims=True) for column in labels))
    return Counts(labels, along(1), overall, int(is_known.sum()))


def precision(tally: Tally) -> Floats:
    """hits / predicted; 0 where nothing was predicted; NaN where nothing is relevant."""
    return np.where(tally.relevant > 0, tally.hits / np.maximum(tally.predicted, 1), np.nan)


def recall(tally: Tally) -> Floats:
    """hits / relevant; NaN where nothing is relevant."""
    return ratio(tally.hits, tally.relevant)


def f1(tally: Tally) -> Floats:
    """2 hits / (predicted + relevant), the harmonic mean of the two above; NaN where nothing is relevant."""
    return np.where(tally.relevant > 0, ratio(2 * tally.hits, tally.predicted + tally.relevant), np.nan)


def c_precision(counts: Counts) -> float | None:
    """C-P: mean over labels of the label's precision (macro precision).

    Ties: none, sets are decided. Empty rows: their predictions are false positives as any other. Absent classes: a
    label without positives is in no mean; one with positives but never predicted counts 0. Source: Wang et al.,
    CVPR 2016 (CNN-RNN).
    """
    return mean(precision(counts.labels))


def c_recall(counts: Counts) -> float | None:
    """C-R: mean over labels of the label's recall (macro recall).

    Ties: none. Empty rows: hold no positive, so change nothing. Absent classes: in no mean. Source: as `c_precision`.
    """
    return mean(recall(counts.labels))


def c_f1(counts: Counts) -> float | None:
    """C-F1: mean over labels of the label's F1 (macro F1). So in ASL's tables, and in RETDM's for CL and C2AE.

    Ties: none. Empty rows: their predictions are false positives. Absent classes: in no mean; a label with positives
    but never predicted, or never rightly, counts 0. Source: Ridnik et al., ICCV 2021 (ASL), published evaluation.
    """
    return mean(f1(counts.labels))


def c_f1_of_means(counts: Counts) -> float | None:
    """C-F1_of_means: harmonic mean of C-P and C-R; 0 where both are 0. What RETDM's tables print as C-F1 of BCE, RETDM
    and the CNN rows.

    Ties, empty rows, absent classes: as C-P and C-R. Never below C-F1 (the harmonic mean is concave). Source:
    Chen et al., CVPR 2019 (ML-GCN), published evaluation.
    """
    p, r = c_precision(counts), c_recall(counts)
    if p is None or r is None:
        return None
    return 2 * p * r / (p + r) if p + r > 0 else 0.0


def o_precision(counts: Counts) -> float | None:
    """O-P: right predictions / predictions, over all cells (micro precision); 0 where nothing was predicted.

    Ties: none. Empty rows and absent classes: their predictions count, all of them false. None where nothing at all
    is relevant. Source: as `c_precision`.
    """
    return mean(precision(counts.overall))


def o_recall(counts: Counts) -> float | None:
    """O-R: right predictions / positives, over all cells (micro recall).

    Ties: none. Empty rows and absent classes: hold no positive, so change nothing. None where nothing at all is
    relevant. Source: as `c_precision`.
    """
    return mean(recall(counts.overall))


def o_f1(counts: Counts) -> float | None:
    """O-F1: harmonic mean of O-P and O-R (micro F1).

    Ties: none. Empty rows and absent classes: their predictions count, all of them false. None where nothing at all
    is relevant. Source: as `c_precision`.
    """
    return mean(f1(counts.overall))


def example_f1(counts: Counts) -> float | None:
    """example_F1: mean over images of ``2 |Y ∩ Z| / (|Y| + |Z|)``, Y the image's labels, Z its predicted ones.

    Ties: none. Empty rows: left out, whatever was predicted for them. Absent classes: their predictions enlarge Z.
    Source: Godbole & Sarawagi, PAKDD 2004; 1 − example_F1 is most likely what RETDM's tables call hamming loss.
    """
    return mean(f1(counts.images))


def hamming_loss(counts: Counts) -> float | None:
    """hamming_loss: share of the known cells that are decided wrongly.

    Ties: none. Empty rows and absent classes: their cells count as any other. None where no cell is known. Source:
    Schapire & Singer, Machine Learning 39, 2000.
    """
    hits, predicted, relevant = (int(total[0]) for total in counts.overall)
    return (predicted + relevant - 2 * hits) / counts.known if counts.known else None
