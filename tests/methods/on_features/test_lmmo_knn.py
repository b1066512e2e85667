"""LMMO-kNN: each step against loops or a generic solver."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from retdm.backbones.vgg import VGGSmall
from retdm.methods.on_features.lmmo_knn import LMMOkNN, fit_metric, ridge_lines, rivals

LABELS = ["a", "b", "c"]


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 6)) * [1, 1, 1, 3, 1, 1]
    noisy = x + 0.5 * rng.normal(size=x.shape)
    target = np.stack([noisy[:, 0] > 0.3, noisy[:, 1] + noisy[:, 2] > 0, noisy[:, 0] > noisy[:, 4]], 1)
    return x[:70], target[:70].astype(np.uint8), np.ones((70, 3), bool), x[70:]


def made(**settings: Any) -> LMMOkNN:
    return LMMOkNN(VGGSmall(channels=[8, 8]), LABELS, ridge=1.0, **settings)


def constraints(seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    y, p = (rng.random((20, 3)) < 0.5).astype(float), rng.random((20, 3))
    row, other = rng.integers(0, 20, 40), rng.integers(0, 20, 40)
    keep = (y[row] != y[other]).any(1)
    row, other = row[keep], other[keep]
    return p - y, p[row] - y[other], row, np.abs(y[row] - y[other]).sum(1)


def value(q: np.ndarray, own: Any, other: Any, row: Any, margin: Any, C: float) -> float:
    total = 0.0
    for z, i, delta in zip(other, row, margin, strict=True):
        total += max(0.0, delta + own[i] @ q @ own[i] - z @ q @ z) ** 2
    return 0.5 * sum(cell**2 for cell in q.ravel()) + C * total / len(row)


@pytest.mark.parametrize("seed, C", [(0, 10.0), (1, 0.3)])
def test_the_metric_is_the_one_that_a_generic_solver_finds(seed: int, C: float) -> None:
    given = constraints(seed)
    q, objective = fit_metric(*given, C)

    def of_factor(flat: np.ndarray) -> float:
        factor = flat.reshape(3, 3)
        return value(factor @ factor.T, *given, C)

    best = min(
        (minimize(of_factor, np.random.default_rng(start).normal(size=9), method="BFGS") for start in range(2)),
        key=lambda found: found.fun,
    )
    assert objective[-1] == pytest.approx(value(q, *given, C))
    assert objective[-1] == pytest.approx(best.fun, rel=1e-4)
    np.testing.assert_allclose(q, best.x.reshape(3, 3) @ best.x.reshape(3, 3).T, atol=0.02)
    np.testing.assert_allclose(q, q.T, atol=1e-15)
    assert np.linalg.eigvalsh(q).min() >= -1e-12


def test_the_objective_starts_at_the_identity_and_only_falls() -> None:
    given = constraints(0)
    _, objective = fit_metric(*given, 10.0)
    assert objective[0] == pytest.approx(value(np.eye(3), *given, 10.0))
    assert len(objective) > 3 and (np.diff(objective) <= 0).all()


def test_without_constraints_the_metric_is_euclidean() -> None:
    none = np.zeros((0, 3))
    q, objective = fit_metric(np.ones((4, 3)), none, np.zeros(0, np.int64), np.zeros(0), 1.0)
    assert np.array_equal(q, np.eye(3)) and len(objective) == 1


def test_rivals_are_each_other_label_set_among_the_neighbours_once() -> None:
    y = np.array([[0, 0], [0, 1], [0, 1], [0, 0], [1, 1]], float)
    near = np.array([[2, 3, 1], [0, 2, 3], [1, 4, 0], [0, 4, 1], [1, 2, 0]])
    expected = {(0, 2), (1, 0), (2, 4), (2, 0), (3, 4), (3, 1), (4, 1), (4, 0)}
    found = rivals(y, near)
    assert {tuple(pair) for pair in found.tolist()} == expected and len(found) == len(expected)
    assert rivals(np.zeros((5, 2)), near).shape == (0, 2)


def test_each_labels_ridge_solves_the_normal_equations_of_its_known_rows() -> None:
    x, target, known, _ = problem()
    known = np.random.default_rng(4).random(known.shape) < 0.6
    known[:, 2] = known[:, 0]
    coefficients, intercepts = ridge_lines(x, target.astype(float), known, 2.5)
    for label in range(3):
        rows, y = x[known[:, label]], target[known[:, label], label].astype(float)
        a = np.hstack([rows, np.ones((len(rows), 1))])
        solved = np.linalg.solve(a.T @ a + 2.5 * np.diag([1.0] * 6 + [0.0]), a.T @ y)
        np.testing.assert_allclose(coefficients[:, label], solved[:6], rtol=1e-9)
        assert intercepts[label] == pytest.approx(solved[6])
    known[:, 1] = False
    assert not ridge_lines(x, target.astype(float), known, 2.5)[0][:, 1].any()


@pytest.mark.parametrize("neighbours", ["labels", "images"])
@pytest.mark.parametrize("votes", ["equal", "weighted"])
@pytest.mark.parametrize("standardise", [False, True])
def test_scores_are_the_mean_label_sets_of_the_nearest_rows(neighbours: Any, votes: Any, standardise: bool) -> None:
    x, target, known, queries = problem()
    method = made(k=5, neighbours=neighbours, votes=votes, standardise=standardise)
    method.fit(x, target, known)
    mean, deviation = (x.mean(0), x.std(0)) if standardise else (0.0, 1.0)
    v, b = ridge_lines((x - mean) / deviation, target.astype(float), known, 1.0)
    q = (method.root @ method.root.T).numpy()
    places = target.astype(float) if neighbours == "labels" else (x - mean) / deviation @ v + b
    scores = method.decision(torch.from_numpy(queries)).numpy()
    for query, found in zip((queries - mean) / deviation @ v + b, scores, strict=True):
        squares = [float((query - place) @ q @ (query - place)) for place in places]
        order = np.argsort(squares, kind="stable").tolist()
        if votes == "equal":
            expected = target[order[:5]].mean(0)
        else:
            total, weight, seen = np.zeros(3), 0.0, set()
            for j in order:
                seen.add(tuple(places[j].tolist()))
                if len(seen) > 5:
                    break
                total, weight = total + target[j] / squares[j], weight + 1 / squares[j]
            expected = total / weight
        np.testing.assert_allclose(found, expected, atol=1e-7)
    levels = len(np.unique(scores.round(9)))
    assert levels <= 6 if votes == "equal" else levels > 20


def test_by_default_no_label_set_takes_all_votes() -> None:
    """Four label sets for 400 rows: each lies nearer with all its rows than there are votes."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6))
    target = (x[:, :2] + rng.normal(size=(500, 2)) > 0).astype(np.uint8)
    whole = []
    for settings in ({}, {"neighbours": "labels", "votes": "equal"}):
        method = LMMOkNN(VGGSmall(channels=[8, 8]), ["a", "b"], **settings)
        method.fit(x[:400], target[:400], np.ones((400, 2), bool))
        scores = method.decision(torch.from_numpy(x[400:])).numpy()
        whole.append(np.isin(scores, (0, 1)).mean())
    assert whole[0] < 0.2 and whole[1] > 0.95


def test_training_takes_the_images_neighbours_and_logs_a_falling_objective(caplog: pytest.LogCaptureFixture) -> None:
    x, target, known, _ = problem()
    method = made(k=4, C=10.0, standardise=False)
    with caplog.at_level("INFO", logger="retdm"):
        method.fit(x, target, known)
    objective = method.details()["objective"]
    assert len(objective) > 2 and (np.diff(objective) <= 0).all() and objective[-1] < objective[0]
    assert f"{objective[-1]:.6g}" in caplog.text
    v, b = ridge_lines(x, target.astype(float), known, 1.0)
    p, pairs = x @ v + b, set()
    for i in range(70):
        order = np.argsort(((x - x[i]) ** 2).sum(1), kind="stable")
        sets: set[tuple[int, ...]] = {tuple(target[i])}
        for j in order[1:5]:
            if tuple(target[j]) not in sets:
                sets.add(tuple(target[j]))
                pairs.add((i, int(j)))
    row, other = np.array(sorted(pairs)).T
    y = target.astype(float)
    margin = (target[row] != target[other]).sum(1).astype(float)
    q = (method.root @ method.root.T).numpy()
    assert objective[-1] == pytest.approx(value(q, p - y, p[row] - y[other], row, margin, 10.0))
