"""ML-kNN against the paper's formulas in plain loops."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from retdm.backbones.vgg import VGGSmall
from retdm.methods.on_features import ml_knn
from retdm.methods.on_features.ml_knn import MLkNN

LABELS = ["a", "b", "c"]


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 6)) * [1, 1, 1, 5, 1, 1]
    target = np.stack([x[:, 0] > 0.3, x[:, 1] + x[:, 2] > 0, rng.random(90) < 0.2], 1).astype(np.uint8)
    return x[:70], target[:70], np.ones((70, 3), bool), x[70:]


def reference(x: Any, target: Any, known: Any, queries: Any, k: int, s: float) -> np.ndarray:
    """Label by label on the rows where it is known, with scikit-learn's neighbours."""
    found = np.empty((len(queries), target.shape[1]))
    for label in range(target.shape[1]):
        rows, marks = x[known[:, label]], target[known[:, label], label]
        m, n_near = len(rows), min(k, len(rows) - 1)
        finder = NearestNeighbors(n_neighbors=n_near, algorithm="brute").fit(rows)
        counts = [sum(int(marks[j]) for j in near) for near in finder.kneighbors(return_distance=False)]
        prior = (s + marks.sum()) / (2 * s + m)
        for i, near in enumerate(finder.kneighbors(queries, return_distance=False)):
            c = sum(int(marks[j]) for j in near)
            likelihood = []
            for mark in (1, 0):
                same = [count for count, is_ in zip(counts, marks, strict=True) if is_ == mark]
                likelihood.append((s + same.count(c)) / (s * (k + 1) + len(same)))
            carrying, without = prior * likelihood[0], (1 - prior) * likelihood[1]
            found[i, label] = carrying / (carrying + without)
    return found


@pytest.mark.parametrize("k, smoothing", [(10, 1.0), (3, 0.5), (69, 1.0)])
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_scores_are_the_posteriors_of_the_paper(
    k: int, smoothing: float, unknown: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ml_knn, "CHUNK", 16)
    x, target, known, queries = problem()
    known = np.random.default_rng(2).random(known.shape) >= unknown
    method = MLkNN(VGGSmall(channels=[8, 8]), LABELS, k=k, smoothing=smoothing)
    method.fit(x, target, known)
    scores = method.decision(torch.from_numpy(queries)).numpy()
    np.testing.assert_allclose(scores, reference(x, target, known, queries, k, smoothing), rtol=1e-12)
    assert len(np.unique(scores[:, 0])) > 1
    assert method.details() == {"k": k}


def test_standardised_distance_is_that_of_features_of_deviation_one() -> None:
    x, target, known, queries = problem()
    plain, other = (MLkNN(VGGSmall(channels=[8, 8]), LABELS, standardise=value) for value in (False, True))
    plain.fit(x / x.std(0), target, known)
    other.fit(x, target, known)
    expected = plain.decision(torch.from_numpy(queries / x.std(0)))
    assert torch.equal(other.decision(torch.from_numpy(queries)), expected)
    plain.fit(x, target, known)
    assert not torch.equal(plain.decision(torch.from_numpy(queries)), expected)


def test_a_copy_of_an_image_is_a_neighbour_and_the_image_itself_is_none() -> None:
    """Three pairs of copies, k 1: each row's neighbour is its copy, so that counts of 1 go with the label alone."""
    x = np.array([[0.0], [0.0], [5.0], [5.0], [9.0], [9.0]])
    target = np.array([[1], [1], [0], [0], [1], [1]], np.uint8)
    method = MLkNN(VGGSmall(channels=[8, 8]), ["a"], k=1)
    method.fit(x, target, np.ones_like(target, bool))
    assert method.likelihood[1, 0].tolist() == pytest.approx([1 / 6, 5 / 6])
    assert method.likelihood[0, 0].tolist() == pytest.approx([3 / 4, 1 / 4])
