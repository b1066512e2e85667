"""Bags as vectors: that machines in torch are scikit-learn's, and that bags of unlike sizes are summarised alone."""

from typing import Any

import numpy as np
import pytest
import torch
from bag_toys import LABELS, Toy, check_reloads, decisions, scored, toy, with_unknown
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from retdm.backbones import NoBackbone
from retdm.errors import UserError
from retdm.methods.components import svm
from retdm.methods.on_bags.bag_embedding import BagEmbedding


def made(**settings: Any) -> BagEmbedding:
    return BagEmbedding(NoBackbone(4), LABELS, **settings)


def fitted(given: Toy, **settings: Any) -> BagEmbedding:
    method = made(**settings)
    method.fit(*given)
    return method


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


def test_unknown_cells_teach_nothing() -> None:
    given = toy()
    left_out, changed = with_unknown(given)
    first, second = fitted(left_out), fitted(changed)
    assert torch.equal(first.duals, second.duals) and torch.equal(first.intercepts, second.intercepts)
    rows = vectors(given, ["mean", "max", "min"])
    seen = left_out.known[:, 0]
    model = SVC(gamma=float(first.rbf_gamma)).fit(StandardScaler().fit_transform(rows)[seen], given.target[seen, 0])
    expected = model.decision_function(StandardScaler().fit_transform(rows))
    np.testing.assert_allclose(decisions(scored(first, given.examples)[:, 0]), expected, atol=1e-6)


def test_threads_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = toy()
    plain = scored(fitted(given), given.examples)
    monkeypatch.setattr(svm, "SMALL", 0)
    monkeypatch.setattr(svm, "CHUNK", 1)
    np.testing.assert_allclose(scored(fitted(given), given.examples), plain, atol=1e-12)


def test_tuning_takes_the_C_with_the_fewest_wrong_cells_over_folds() -> None:
    given = toy(n=40)
    method = fitted(given, tune=True, candidates=[10.0, 0.01, 0.1])
    fold = np.random.default_rng(0).permutation(40) % 5
    x = vectors(given, ["mean", "max", "min"])
    wrong = {}
    for C in (0.01, 0.1, 10.0):
        wrong[C] = 0
        for held in range(5):
            for label in (0, 1):
                model = make_pipeline(StandardScaler(), SVC(C=C))
                model.fit(x[fold != held], given.target[fold != held, label])
                wrong[C] += int((model.predict(x[fold == held]) != given.target[fold == held, label]).sum())
    assert len(set(wrong.values())) > 1
    assert min(wrong, key=wrong.__getitem__) == method.C
    assert np.array_equal(scored(method, given.examples), scored(fitted(given, C=method.C), given.examples))


def test_a_checkpoint_brings_what_was_learnt() -> None:
    given = toy()
    check_reloads(fitted(given), made(), given.examples)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"parts": ["median"]}, r"method.parts=\['median'\]"),
        ({"parts": []}, "method.parts="),
        ({"C": 0.0}, "method.C=0.0"),
        ({"gamma": -1.0}, "method.gamma=-1.0"),
        ({"candidates": []}, "method.candidates is empty"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(**settings)
