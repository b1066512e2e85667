"""RankLossSIM: scores and loss by plain loops, Pegasos against a generic solver, thresholds against all there are."""

from functools import partial
from typing import Any

import fitted_toys
import numpy as np
import pytest
import torch
from fitted_toys import Toy, decisions, instances_scored, scored, toy
from scipy.optimize import minimize

from retdm.decisions import decide
from retdm.methods.on_bags.ranklsim import RankLossSIM, objective, pegasos, thresholds_of

fitted = partial(fitted_toys.fitted, "ranklsim")

QUICK = {"rounds": 2, "steps": 200}


def supports(method: RankLossSIM, given: Toy, kind: str) -> np.ndarray:
    """(n, L, D + 1) by a loop over bags and labels."""
    x = given.examples.instances.astype(np.float64)
    found = []
    for i in range(len(given.target)):
        bag = (given.bag(i) - x.mean(0)) / x.std(0)
        bag = np.concatenate([bag, np.ones((len(bag), 1))], 1)
        row = []
        for w in method.weights.numpy():
            values = bag @ w
            share = np.exp(values) / np.exp(values).sum() if kind == "softmax" else values == values.max()
            row.append(share @ bag)
        found.append(row)
    return np.array(found)


@pytest.mark.parametrize("kind", ["softmax", "max"])
def test_bags_and_instances_score_what_a_plain_loop_says(kind: Any) -> None:
    given = toy()
    method = fitted(given, support=kind)
    w = method.weights.numpy()
    expected = (supports(method, given, kind) * w).sum(2)
    scores = scored(method, given.examples)
    np.testing.assert_allclose(decisions(scores[:, :2]), expected[:, :2], atol=1e-9)
    assert scores[:, 2] == pytest.approx(1 / 62)  # no positive in 60 bags
    x = given.examples.instances.astype(np.float64)
    instances = instances_scored(method, given.examples)
    values = (x - x.mean(0)) / x.std(0) @ w[:, :-1].T + w[:, -1]
    np.testing.assert_allclose(decisions(instances[:, :2]), values[:, :2], atol=1e-9)


def test_the_objective_is_the_definition() -> None:
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(4, 3)), rng.normal(size=(7, 4, 3))
    positive = rng.random((7, 4)) < 0.5
    positive[0] = False  # a bag without labels is passed over
    total, bags = 0.0, 0
    for i in range(7):
        pairs = [(p, q) for p in range(4) for q in range(4) if positive[i, p] and not positive[i, q]]
        bags += bool(pairs)
        total += sum(max(0, 1 - w[p] @ x[i, p] + w[q] @ x[i, q]) for p, q in pairs) / max(1, len(pairs))
    assert objective(w, x, positive, ~positive, 0.3) == pytest.approx(0.15 * (w**2).sum() + total / bags)


def test_pegasos_comes_to_the_minimum_that_a_generic_solver_finds() -> None:
    rng = np.random.default_rng(0)
    n, L, D, penalty = 8, 3, 2, 0.1
    x, positive = rng.normal(size=(n, L, D)), rng.random((n, L)) < 0.5
    pairs = [(i, p, q) for i in range(n) for p in range(L) for q in range(L) if positive[i, p] and not positive[i, q]]
    bags = {i for i, _, _ in pairs}
    share = np.array([1 / sum(j == i for j, _, _ in pairs) / len(bags) for i, _, _ in pairs])

    def margins(v: np.ndarray) -> np.ndarray:
        w = v[: L * D].reshape(L, D)
        return np.array([w[p] @ x[i, p] - w[q] @ x[i, q] - 1 for i, p, q in pairs]) + v[L * D :]

    best = minimize(
        lambda v: penalty / 2 * (v[: L * D] ** 2).sum() + share @ v[L * D :],
        np.concatenate([np.zeros(L * D), np.full(len(pairs), 2.0)]),
        bounds=[(None, None)] * (L * D) + [(0, None)] * len(pairs),
        constraints={"type": "ineq", "fun": margins},
    )
    assert best.success
    reached = {
        steps: objective(
            pegasos(x, positive, ~positive, penalty, steps, np.random.default_rng(1)), x, positive, ~positive, penalty
        )
        for steps in (20, 5_000)
    }
    assert best.fun - 1e-6 < reached[5_000] < 1.02 * best.fun < reached[20]


def test_the_objective_falls_and_the_best_round_is_kept() -> None:
    given = toy()
    method = fitted(given, rounds=4, steps=600)
    found = method.details()["objective"]
    assert len(found) == 4 and min(found) < 0.9 * found[0] and found[0] < 1  # weights of 0 have 1
    positive = (given.target > 0) & [True, True, False]  # the third label does not count
    negative = (given.target == 0) & [True, True, False]
    kept = objective(method.weights.numpy(), supports(method, given, "softmax"), positive, negative, 0.01)
    assert kept == pytest.approx(min(found))


def test_thresholds_have_the_fewest_errors_of_all() -> None:
    rng = np.random.default_rng(0)
    scores, positive, known = rng.random((30, 4)).round(1), rng.random((30, 4)) < 0.4, rng.random((30, 4)) < 0.8
    positive[:, 2], positive[:, 3] = True, False
    found = thresholds_of(scores, positive, known)
    for label in range(4):
        wrong = [
            int((((scores[:, label] >= threshold) != positive[:, label]) & known[:, label]).sum())
            for threshold in [*np.linspace(0, 1, 201), found[label]]
        ]
        assert wrong[-1] == min(wrong)
    assert found.min() >= 0 and found.max() <= 1
    assert thresholds_of(scores, positive, np.zeros_like(known)).tolist() == [0.5] * 4


def test_thresholds_divide_the_bags_of_the_fit() -> None:
    given = toy()
    method = fitted(given)
    said = decide(scored(method, given.examples), method.decide, method.thresholds.numpy())
    assert (said == given.target).mean() > 0.9
    assert not said[:, 2].any()


def test_the_seed_decides_the_draws() -> None:
    given = toy()
    assert torch.equal(fitted(given).weights, fitted(given).weights)
    assert not torch.equal(fitted(given, seed=1).weights, fitted(given).weights)
