"""KISAR: its map by a plain loop, its minimum by a generic solver, and what relates labels."""

from dataclasses import replace
from functools import partial
from typing import Any

import fitted_toys
import numpy as np
import pytest
import torch
from fitted_toys import Toy, decisions, instances_scored, scored, toy
from scipy.optimize import minimize
from sklearn.svm import SVC

from retdm.methods.on_bags import kisar
from retdm.methods.on_bags.kisar import KISAR, related

fitted = partial(fitted_toys.fitted, "kisar", rounds=20)


def similarity(method: KISAR, given: Toy) -> np.ndarray:
    """s by a loop over bags and prototypes; the width too, from its definition."""
    x = given.examples.instances.astype(np.float64)
    mean, deviation = x.mean(0), x.std(0)
    prototypes = method.centres.numpy()
    delta = np.mean([((row - c) ** 2).sum() for row in (x - mean) / deviation for c in prototypes])
    found = []
    for i in range(len(given.target)):
        bag = (given.bag(i) - mean) / deviation
        found.append([max(np.exp(-((row - c) ** 2).sum() / delta) for row in bag) for c in prototypes])
    return np.array(found)


def test_the_first_round_is_one_machine_a_label_on_the_map() -> None:
    given = toy()
    method = fitted(given, rounds=1, relation="none", C=5.0)
    s = similarity(method, given)
    scores = scored(method, given.examples)
    for label in (0, 1):
        model = SVC(kernel="linear", C=5.0 / 6).fit(s, given.target[:, label])  # mu of 1/6 each
        np.testing.assert_allclose(decisions(scores[:, label]), model.decision_function(s), atol=2e-3)
    assert scores[:, 2] == pytest.approx(1 / 62)  # no positive in 60 bags


def test_scores_are_the_coefficients_on_the_map() -> None:
    given = toy()
    method = fitted(given)
    f = similarity(method, given) @ method.coefficients.numpy().T + method.intercepts.numpy()
    np.testing.assert_allclose(decisions(scored(method, given.examples)), f, atol=1e-6)


@pytest.mark.parametrize("relation", ["none", "all"])
def test_rounds_end_at_the_minimum_that_a_generic_solver_finds(monkeypatch: pytest.MonkeyPatch, relation: str) -> None:
    monkeypatch.setattr(kisar, "ENOUGH", 0.0)
    given = toy(n=25)
    C, K, n = 2.0, 3, 25
    method = fitted(given, prototypes=K, rounds=200, relation=relation, C=C)
    s, signs = similarity(method, given), given.target[:, :2] * 2.0 - 1

    def objective(v: np.ndarray) -> float:
        w, slack = v[: 2 * K].reshape(2, K), v[2 * K + 2 :]
        alone = sum(np.sqrt(row**2 + 1e-8).sum() ** 2 for row in w)
        pair = np.sqrt((w**2).sum(0) + 1e-8).sum() ** 2 if relation == "all" else 0.0
        return float((alone + pair) / 2 + C * slack.sum())

    def margins(v: np.ndarray) -> np.ndarray:
        f = s @ v[: 2 * K].reshape(2, K).T + v[2 * K : 2 * K + 2]
        return (signs * f - 1).ravel() + v[2 * K + 2 :]

    start = np.concatenate([np.full(2 * K, 0.1), np.zeros(2), np.full(2 * n, 2.0)])
    bounds = [(None, None)] * (2 * K + 2) + [(0, None)] * (2 * n)
    constraint = {"type": "ineq", "fun": margins}
    best = minimize(objective, start, bounds=bounds, constraints=constraint, options={"maxiter": 500})
    assert best.success
    assert method.objective[-1] == pytest.approx(best.fun, rel=2e-3)
    assert method.objective[-1] < 0.98 * method.objective[0]


def test_the_objective_falls() -> None:
    objective = fitted(toy(), C=5.0).details()["objective"]
    assert len(objective) > 2
    assert (np.diff(objective) <= 1e-3 * np.array(objective[:-1])).all()  # libsvm stops a little early
    assert objective[-1] < 0.95 * objective[0]


def test_related_labels_choose_prototypes_that_are_more_alike() -> None:
    given = toy()
    alike = {}
    for relation in ("none", "all"):
        w = fitted(given, relation=relation, C=1.0).coefficients[:2].abs()
        alike[relation] = float(torch.nn.functional.cosine_similarity(w[0], w[1], dim=0))
    assert alike["all"] > alike["none"] + 0.02


def test_relations_are_those_of_the_table_of_joint_counts() -> None:
    positive = np.zeros((20, 3))
    positive[:10, 0] = 1  # ten, five, eight; together 2, 1, 0
    positive[8:13, 1] = 1
    positive[9:10, 2] = positive[13:20, 2] = 1
    positive[9, 1] = 1
    together = positive.T @ positive
    assert together.tolist() == [[10, 2, 1], [2, 5, 1], [1, 1, 8]]

    def pairs(relation: Any) -> set[tuple[int, int]]:
        table = related(positive, relation)
        assert (table == table.T).all() and table.diagonal().all()
        return {(int(a), int(b)) for a, b in np.argwhere(table) if a < b}

    assert pairs("none") == pairs("above_mean") == set()  # the mean is 31 / 9
    assert pairs("above_mean_of_pairs") == {(0, 1)}  # 8 / 6
    assert pairs("conditional") == pairs("all") == {(0, 1), (0, 2), (1, 2)}
    positive[9, 2] = 0
    assert pairs("conditional") == {(0, 1)}


def test_an_instance_scores_what_a_bag_of_it_alone_would() -> None:
    given = toy()
    method = fitted(given)
    rows = given.examples.instances
    alone = replace(given.examples, instances=rows, offsets=np.arange(len(rows) + 1), index=np.arange(len(rows)))
    np.testing.assert_allclose(instances_scored(method, given.examples), scored(method, alone), atol=1e-12)


def test_chunks_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = toy()
    plain = scored(fitted(given), given.examples)
    monkeypatch.setattr(kisar, "CHUNK", 1)
    monkeypatch.setattr(kisar, "SMALL", 0)
    np.testing.assert_allclose(scored(fitted(given), given.examples), plain, atol=1e-9)
