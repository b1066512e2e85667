from typing import Any

import numpy as np
import pytest

from retdm.methods.components.standardise import shift_and_spread, standardised


def test_a_constant_feature_is_not_divided_and_nothing_is_where_it_is_not_wanted() -> None:
    x = np.array([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    z, mean, deviation = standardised(x)
    np.testing.assert_allclose(z, np.stack([(x[:, 0] - 3) / x[:, 0].std(), np.zeros(3)], 1))
    np.testing.assert_allclose(z, (x - mean) / deviation)
    same, mean, deviation = standardised(x, False)
    assert same is x and mean.tolist() == [0, 0] and deviation.tolist() == [1, 1]


@pytest.mark.parametrize("scale", ["minmax", "standard", "none"])
def test_the_scale_is_that_of_all_blocks_and_a_constant_feature_is_not_divided(scale: Any) -> None:
    x = np.array([[1, 5], [2, 5], [3, 5], [7, 5]], np.float32)
    expected = {"minmax": (x - [1, 5]) / [6, 1], "standard": (x - x.mean(0)) / [x[:, 0].std(), 1], "none": x}[scale]
    shift, spread = shift_and_spread(scale, [x[:1], x[1:]])
    np.testing.assert_allclose((x - shift) / spread, expected, rtol=1e-6)


def test_what_rounding_leaves_of_a_constant_features_deviation_divides_nothing() -> None:
    x = np.full((20, 1), 0.1)
    assert x.std(0) > 0
    z, mean, deviation = standardised(x)
    assert deviation == 1 and np.abs(z).max() < 1e-15 and mean == pytest.approx(0.1)
