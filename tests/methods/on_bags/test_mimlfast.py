"""MIMLfast: that its steps are those of the release, and that scores and label sets follow from them."""

import sys
from dataclasses import replace
from functools import partial
from typing import Any

import fitted_toys
import numpy as np
import pytest
import torch
from fitted_toys import Toy, decisions, instances_scored, scored, toy

from retdm.decisions.rules import decide
from retdm.errors import UserError
from retdm.methods.on_bags.mimlfast import EACH, Rates, Weights, minibatch, start

fitted = partial(fitted_toys.fitted, "mimlfast", eta=0.005)


def one_by_one(given: Toy, eta: float, lambda_: float, norm: float, D: int, K: int, epochs: int) -> tuple[Any, ...]:
    """The release's loop, read from its MATLAB, for bags of which every label is known: V (D, d), W (C, K, D), losses.

    Constant labels are left out, as by the method.
    """
    x = given.examples.instances.astype(np.float64)
    x = (x - x.mean(0)) / x.std(0)
    bags = np.split(x.T, given.examples.offsets[1:-1], axis=1)  # (d, N) each
    relevant = np.where(given.target, 1, -1) * (given.target.any(0) & ~given.target.all(0))
    relevant = np.append(relevant, np.full((len(relevant), 1), 2), 1)
    dummy = relevant.shape[1] - 1
    rng = np.random.default_rng(0)
    V, W = rng.normal(size=(4, D)).T.copy(), rng.normal(size=(dummy + 1, K, D))
    V *= norm / np.linalg.norm(V, axis=0)
    W *= norm / np.linalg.norm(W, axis=2, keepdims=True)
    V_sum, W_sum, count, t, losses = np.zeros_like(V), np.zeros_like(W), 0, 0, []
    for _ in range(epochs):
        pairs = rng.permutation(np.argwhere(relevant > 0))
        draws = rng.random((len(pairs), dummy + 1))
        losses.append(0.0)
        for place, (i, y) in enumerate(pairs):
            negative = [*np.flatnonzero(relevant[i] == -1), *([dummy] if y != dummy else [])]
            if not negative:
                continue
            mapped = V @ bags[i]
            f_y = (W[y] @ mapped).max()
            k_y, at_y = np.argwhere(W[y] @ mapped == f_y)[0]
            for j in range(1, len(negative) + 1):
                n = negative[int(draws[place, j - 1] * len(negative))]
                f_n = (W[n] @ mapped).max()
                if f_n > f_y - 1:
                    break
            if f_n > f_y - 1:
                k_n, at_n = np.argwhere(W[n] @ mapped == f_n)[0]
                losses[-1] += (1 + f_n - f_y) / len(pairs)
                step = eta / (1 + lambda_ * t * eta) * sum(1 / r for r in range(1, len(negative) // j + 1))
                t += 1
                w_y, w_n = W[y, k_y] + step * mapped[:, at_y], W[n, k_n] - step * mapped[:, at_n]
                V -= step * (np.outer(W[n, k_n], bags[i][:, at_n]) - np.outer(W[y, k_y], bags[i][:, at_y]))
                W[y, k_y], W[n, k_n] = (w * min(1, norm / np.linalg.norm(w)) for w in (w_y, w_n))
                V *= np.minimum(1, norm / np.linalg.norm(V, axis=0))
            if t and place % EACH == EACH - 1:
                V_sum, W_sum, count = V_sum + V, W_sum + W, count + 1
    return V_sum / count, W_sum / count, losses


@pytest.mark.parametrize("variant", ["published", "minibatch"])
def test_steps_are_those_of_the_release(variant: str) -> None:
    if variant == "published":
        pytest.importorskip("numba")
    given = toy()  # in some bags the dummy alone is negative; then the release skips a weight, which a batch does not
    if variant == "minibatch":
        given.target[:, 2] = given.target.sum(1) == 0
    method = fitted(given, variant=variant, batch=1, C=3.0, eta=0.05, lambda_=0.1)
    V, W, losses = one_by_one(given, eta=0.05, lambda_=0.1, norm=3.0, D=6, K=2, epochs=3)
    np.testing.assert_allclose(method.concepts, W @ V, atol=1e-9)
    np.testing.assert_allclose(method.objective, losses, atol=1e-9)
    assert method.details() == {"D": 6, "C": 3.0, "K": 2, "epochs": 3, "objective": method.objective}


@pytest.mark.parametrize("batch", [4, 32])
def test_labels_come_within_1_of_others_by_less_and_less(batch: int) -> None:
    objective = np.array(fitted(toy(), epochs=8, batch=batch).objective)
    assert len(objective) == 8
    assert objective[-4:].mean() < objective[:4].mean() / 2


def test_a_batch_adds_the_steps_that_its_pairs_would_take_alone() -> None:
    given, rng = toy(n=4), np.random.default_rng(0)
    x, rates = given.examples.instances.astype(np.float64), Rates(0.05, 0.0, 1e9)
    begin = start(4, 6, 4, 2, 3.0, rng)
    negative = np.append(given.target == 0, np.ones((4, 1), bool), 1)
    bags = (x, given.examples.offsets, np.nonzero(negative)[1], np.append(0, negative.sum(1).cumsum()))
    pairs, draws = np.argwhere(~negative | (np.arange(4) == 3)), rng.random((9, 4))

    def after(size: int, rows: slice) -> Weights:
        weights = Weights(*(part.copy() for part in begin))
        minibatch(size)(*bags, pairs[rows], weights, rates, draws[rows])
        return weights

    together = after(len(pairs), slice(None))
    alone = [after(1, slice(place, place + 1)) for place in range(len(pairs))]
    assert together.counts[0] == sum(one.counts[0] for one in alone) > 3
    for part in (0, 1):
        steps = [one[part] - begin[part] for one in alone]
        np.testing.assert_allclose(together[part] - begin[part], sum(steps), atol=1e-12)


def test_a_bag_scores_by_its_highest_instance_over_the_dummys_highest() -> None:
    given = toy()
    method = fitted(given, margin=0.5)
    scores = scored(method, given.examples)
    concepts = method.concepts.numpy()
    for i in range(10):
        x = (given.bag(i) - method.mean.numpy()) / method.deviation.numpy()
        highest = np.einsum("ckd,nd->cnk", concepts, x).max((1, 2))
        np.testing.assert_allclose(decisions(scores[i, :2]), highest[:2] - highest[3] - 0.5, atol=1e-9)
    assert scores[:, 2] == pytest.approx(1 / 62)  # no positive in 60 bags


def test_instances_score_over_the_dummy_and_find_what_made_the_label() -> None:
    given = toy(n=120)
    method = fitted(given, D=20, epochs=10)
    only = [i for i in range(120) if given.target[i].sum() == 1 and len(given.bag(i)) > 2]
    scores = instances_scored(method, given.examples)
    x = (torch.from_numpy(given.examples.instances).double() - method.mean) / method.deviation
    values = np.einsum("ckd,nd->nck", method.concepts, x).max(2)
    np.testing.assert_allclose(decisions(scores[:, :2]), values[:, :2] - values[:, 3:], atol=1e-9)
    bags = np.split(scores, given.examples.offsets[1:-1])
    right = [bags[i][:, given.target[i].argmax()].argmax() == 0 for i in only]  # the toy's first instance
    assert np.mean(right) > 0.9


def test_new_bags_get_their_labels() -> None:
    method, new = fitted(toy(n=150), D=20, epochs=10), toy(seed=1)
    scores = scored(method, new.examples)
    assert (scores[:, :2].argmax(1) == new.target.argmax(1))[new.target.sum(1) == 1].mean() > 0.9
    assert decide(scores, "t_criterion").any(1).all()


def test_bags_with_all_labels_or_one_instance_and_sets_with_nothing_to_rank_are_no_trouble() -> None:
    given = toy(n=20)
    full = given._replace(target=np.ones_like(given.target))
    full.target[0] = 0
    for variant in ("published", "minibatch"):
        if variant == "published":
            pytest.importorskip("numba")
        scores = scored(fitted(full, variant=variant), given.examples)
        assert 0 <= scores.min() <= scores.max() <= 1
        nothing = fitted(given._replace(target=np.ones_like(given.target)), variant=variant)
        assert scored(nothing, given.examples) == pytest.approx(21 / 22)
        assert nothing.objective == [0, 0, 0]


def test_the_seed_decides_and_the_scale_of_features_does_not() -> None:
    given = toy()
    assert torch.equal(fitted(given, seed=1).concepts, fitted(given, seed=1).concepts)
    assert not torch.equal(fitted(given, seed=1).concepts, fitted(given).concepts)
    larger = replace(given.examples, instances=given.examples.instances * 64)
    scaled = scored(fitted(given._replace(examples=larger)), larger)
    np.testing.assert_allclose(scaled, scored(fitted(given), given.examples), atol=1e-6)
    assert not np.allclose(
        scored(fitted(given._replace(examples=larger), standardise=False), larger),
        scored(fitted(given, standardise=False), given.examples),
    )


def test_without_numba_the_published_variant_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "retdm.methods.components.mimlfast_steps", raising=False)
    with pytest.raises(UserError, match="numba") as error:
        fitted(toy(), variant="published")
    assert 'pip install "retdm[fast]"' in error.value.hint and "minibatch" in error.value.hint
    fitted(toy(), variant="minibatch")
