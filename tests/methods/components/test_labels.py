import numpy as np

from retdm.methods.components.labels import constant_labels, constant_scores, smoothed_prior


def test_priors_and_constant_labels_are_of_known_cells() -> None:
    target = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]])
    known = np.array([[True, True, False], [True, False, False], [False, True, False]])
    assert smoothed_prior(target, known).tolist() == [3 / 4, 2 / 4, 1 / 2]
    assert constant_labels(target, known).tolist() == [True, False, True]
    np.testing.assert_array_equal(constant_scores(target, known), [3 / 4, np.nan, 1 / 2])
