"""Bags as vectors: that machines in torch are scikit-learn's, and that bags of unlike sizes are summarised alone."""

from functools import partial

import fitted_toys
import numpy as np
import pytest
from fitted_toys import Toy, decisions, scored, toy
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from retdm.methods.components import classifiers

fitted = partial(fitted_toys.fitted, "bag_embedding")


def vectors(given: Toy, parts: list[str]) -> np.ndarray:
    bags = [given.bag(i).astype(np.float64) for i in range(len(given.target))]
    return np.stack([np.concatenate([getattr(bag, part)(0) for part in parts]) for bag in bags])


@pytest.mark.parametrize("parts", [["mean", "max", "min"], ["max", "min"]])
@pytest.mark.parametrize("gamma", [None, 0.3])
def test_scores_are_those_of_scikit_learns_machines_on_the_vectors(parts: list[str], gamma: float | None) -> None:
    given, new = toy(), toy(seed=1)
    scores = scored(fitted(given, parts=parts, C=2.0, gamma=gamma), new.examples)
    for label in (0, 1):
        model = make_pipeline(StandardScaler(), SVC(C=2.0, gamma=gamma or "scale"))
        model.fit(vectors(given, parts), given.target[:, label])
        expected = model.decision_function(vectors(new, parts))
        np.testing.assert_allclose(decisions(scores[:, label]), expected, atol=1e-6)
    assert scores[:, 2] == pytest.approx(1 / 62)  # no positive in 60 bags


def test_threads_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = toy()
    plain = scored(fitted(given), given.examples)
    monkeypatch.setattr(classifiers, "SMALL", 0)
    monkeypatch.setattr(classifiers, "CHUNK", 1)
    np.testing.assert_allclose(scored(fitted(given), given.examples), plain, atol=1e-12)
