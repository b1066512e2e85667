"""Confusion of labels against its definition in loops."""

import numpy as np
import pytest
from awkward import Case

from retdm.criteria import confusion


def test_equals_the_definition(case: Case) -> None:
    found = confusion(*case[1:])
    labels = range(case.target.shape[1])
    expected = {key: np.zeros_like(value) for key, value in found._asdict().items()}
    for target, known, predicted in zip(*case[1:], strict=True):
        has = {j for j in labels if known[j] and target[j]}
        given = {j for j in labels if known[j] and predicted[j]}
        for i in has - given:
            expected["missed"][i] += 1
            expected["alone"][i] += not given - has
            for j in given - has:
                expected["instead"][i, j] += 1
        for i in given - has:
            expected["added"][i] += 1
            expected["beside_none"][i] += not has
            for j in has:
                expected["beside"][i, j] += 1
    for key, value in found._asdict().items():
        assert np.array_equal(value, expected[key]), key
    assert found.instead.any() and found.beside.any() and found.alone.any()


def test_right_decisions_confuse_nothing_and_unknown_cells_are_no_mistake() -> None:
    target = np.array([[1, 0], [0, 1]])
    assert not any(each.any() for each in confusion(target, target >= 0, target > 0))
    assert not any(each.any() for each in confusion(target, target < 0, target == 0))
    with pytest.raises(ValueError, match="predicted has shape"):
        confusion(target, target >= 0, target[:1] > 0)
