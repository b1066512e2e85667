"""Histograms of words: counted as a plain loop counts them, and classified as scikit-learn classifies them."""

from functools import partial

import fitted_toys
import numpy as np
import pytest
import torch
from fitted_toys import Toy, decisions, scored, toy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import chi2_kernel
from sklearn.svm import SVC

from retdm.methods.on_bags import bag_of_words
from retdm.methods.on_bags.bag_of_words import BagOfWords

fitted = partial(fitted_toys.fitted, "bag_of_words")


def counted(method: BagOfWords, given: Toy) -> np.ndarray:
    """Histograms by a loop over instances."""
    words = method.centres.numpy() * method.deviation.numpy() + method.mean.numpy()
    found = np.zeros((len(given.target), len(words)))
    for i, row in enumerate(found):
        bag = given.bag(i)
        for instance in bag:
            distance = ((instance - words) / method.deviation.numpy()) ** 2
            row[distance.sum(1).argmin()] += 1 / len(bag)
    return found


@pytest.mark.parametrize("standardise", [True, False])
def test_logistic_scores_are_those_of_scikit_learn_on_counted_histograms(standardise: bool) -> None:
    given, new = toy(), toy(seed=1)
    method = fitted(given, standardise=standardise)
    scores = scored(method, new.examples)
    for label in (0, 1):
        model = LogisticRegression(C=10, tol=1e-10, max_iter=10_000)
        model.fit(counted(method, given), given.target[:, label])
        np.testing.assert_allclose(scores[:, label], model.predict_proba(counted(method, new))[:, 1], atol=1e-5)
    assert scores[:, 2] == pytest.approx(1 / 62)  # no positive in 60 bags


def test_chi2_scores_are_those_of_scikit_learn_on_counted_histograms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bag_of_words, "CHUNK", 200)  # so that some rows stand alone
    given, new = toy(), toy(seed=1)
    method = fitted(given, classifier="chi2", gamma=0.7, C=3.0)
    scores = scored(method, new.examples)
    train, test = counted(method, given), counted(method, new)
    for label in (0, 1):
        model = SVC(kernel="precomputed", C=3.0).fit(chi2_kernel(train, gamma=0.7), given.target[:, label])
        expected = model.decision_function(chi2_kernel(test, train, gamma=0.7))
        np.testing.assert_allclose(decisions(scores[:, label]), expected, atol=1e-6)
    assert scores[:, 2] == pytest.approx(1 / 62)


def test_words_are_where_lloyds_steps_stop_and_the_seed_decides_which() -> None:
    given = toy()
    method = fitted(given, standardise=False)
    words, x = method.centres.numpy(), given.examples.instances.astype(np.float64)
    nearest = ((x[:, None] - words) ** 2).sum(2).argmin(1)
    np.testing.assert_allclose(words, [x[nearest == k].mean(0) for k in range(6)], atol=1e-6)
    assert torch.equal(method.centres, fitted(given, standardise=False).centres)
    assert not torch.equal(method.centres, fitted(given, standardise=False, seed=1).centres)


def test_there_are_no_more_words_than_different_instances() -> None:
    given = toy(n=8)
    method = fitted(given, words=1000)
    assert len(method.centres) == len(given.examples.instances)
