"""Criteria by frequency band against `evaluate` and `bootstrap_intervals` of the band's labels alone."""

import numpy as np
import pytest
from awkward import NAMES, Case

from retdm.criteria import BANDS, bootstrap_intervals, by_band, evaluate, resample


def test_a_bands_criteria_are_those_of_its_labels_alone(case: Case) -> None:
    positives = [500, 101, 0, 20, 100, 19]
    of = {"many": [0, 1], "medium": [3, 4], "few": [2, 5]}
    found = by_band(resample(*case, resamples=50), positives)
    assert list(found) == list(BANDS) == list(of)
    for name, columns in of.items():
        scores, target, known, predicted = (part[:, columns] for part in case)
        alone = evaluate(scores, target, known, [NAMES[j] for j in columns], predicted)["criteria"]
        intervals = bootstrap_intervals(scores, target, known, predicted, resamples=50).criteria
        assert found[name]["labels"] == len(columns)
        for criterion in ("C-P", "C-R", "C-F1", "C-F1_of_means", "mAP"):
            value, ends = found[name]["criteria"][criterion], found[name]["intervals"][criterion]
            assert value == (None if alone[criterion] is None else pytest.approx(alone[criterion]))
            expected = intervals[criterion]
            assert ends == (None if expected is None else pytest.approx(expected))


def test_the_bands_share_out_every_number_of_positives() -> None:
    for count in (0, 19, 20, 100, 101, 10**6):
        inside = [least <= count and (most is None or count <= most) for least, most in BANDS.values()]
        assert sum(inside) == 1


def test_an_empty_band_has_no_criteria(plain: Case) -> None:
    found = by_band(resample(*plain, resamples=5), [500] * plain.target.shape[1])
    assert found["few"]["labels"] == 0
    assert set(found["few"]["criteria"].values()) == {None} and set(found["few"]["intervals"].values()) == {None}
    with pytest.raises(ValueError, match="positives"):
        by_band(resample(*plain, resamples=5), [500])
    assert not np.isnan(found["many"]["criteria"]["mAP"] or np.nan)
