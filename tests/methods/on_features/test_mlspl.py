"""MLSPL and MLLOC: each step against loops or a generic solver, and an objective that falls."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar
from sklearn.linear_model import LogisticRegression

from retdm.backbones.vgg import VGGSmall
from retdm.methods.on_features.mlspl import MLSPL, Problem, cell_weights, on_simplex, regulariser
from retdm.settings.compose import compose_settings

LABELS = ["a", "b", "c"]
PACES: list[Any] = ["hard", "linear", "log", "logistic", "none"]


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 5))
    noisy = x + 0.7 * rng.normal(size=x.shape)
    target = np.stack([noisy[:, 0] > 0.3, noisy[:, 1] + noisy[:, 2] > 0, noisy[:, 0] > noisy[:, 4]], 1)
    return x, target.astype(np.uint8), np.ones((60, 3), bool)


def problem(locality: float = 0.05) -> Problem:
    """In the midst of its alternation: weighted cells, soft codes, some cells that do not count."""
    x, target, _ = data()
    cells = np.random.default_rng(2).random(target.shape) < 0.8
    found = Problem(x, np.where(target > 0, 1.0, -1.0), cells, 0.4, locality)
    found.begin(4, 0)
    found.weights = np.random.default_rng(3).random(target.shape) * cells
    found.step_classifiers()
    found.u = np.random.default_rng(4).normal(size=found.u.shape)
    found.codes = np.random.default_rng(5).dirichlet(np.ones(4), 60)
    return found


def objective(p: Problem) -> float:
    """The definition in plain loops, for cells weighed by what they have now."""
    total = p.penalty * sum(value**2 for part in (p.w, p.u) for value in part.ravel())
    for i in range(len(p.x)):
        for label in range(p.y.shape[1]):
            if p.cells[i, label]:
                f = p.x[i] @ p.w[:, label] + p.codes[i] @ p.u[:, label] + p.b[label]
                total += p.weights[i, label] * np.log1p(np.exp(-p.y[i, label] * f))
                for j in range(len(p.centres)):
                    total += p.locality * p.codes[i, j] * (p.y[i, label] - p.centres[j, label]) ** 2
    return float(total)


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("limit", [0.05, 0.3, 0.69, 0.95])
def test_a_cells_weight_minimises_its_loss_and_the_regulariser(pace: Any, limit: float) -> None:
    for loss in (0.01, 0.2, 0.5, 0.8, 3.0):

        def total(v: float, loss: float = loss) -> float:
            return float((v * loss + regulariser(np.array([[v]]), np.array([[limit]]), pace))[0, 0])

        found = float(cell_weights(np.array([[loss]]), np.array([[limit]]), pace)[0, 0])
        if pace == "none":
            assert found == 1
            continue
        assert 0 <= found <= 1
        if pace == "hard":
            assert found == (loss < limit)
        best = minimize_scalar(total, bounds=(0, 1), method="bounded", options={"xatol": 1e-10})
        assert total(found) <= best.fun + 1e-9
        if pace != "hard":
            assert found == pytest.approx(best.x, abs=1e-4)


@pytest.mark.parametrize("pace", PACES[:4])
def test_easier_cells_weigh_more_and_a_later_pace_counts_more(pace: Any) -> None:
    loss = np.linspace(0.01, 2, 50)[None]
    early, late = (cell_weights(loss, np.full_like(loss, limit), pace) for limit in (0.3, 0.9))
    assert (np.diff(early) <= 0).all() and early[0, 0] > early[0, -1]
    assert late.sum() > early.sum() and (late >= early).all()


def test_the_objective_is_the_one_of_plain_loops() -> None:
    p = problem()
    assert p.objective(np.ones_like(p.y), "none") == pytest.approx(objective(p))
    limit = np.full_like(p.y, 0.4)
    more = regulariser(p.weights, limit, "linear")[p.cells].sum()
    assert p.objective(limit, "linear") == pytest.approx(objective(p) + more)


def test_the_classifiers_are_those_of_scikit_learn() -> None:
    p = problem()
    p.step_classifiers()
    read = np.hstack([p.x, p.codes])
    for label in range(3):
        model = LogisticRegression(C=1 / (2 * p.penalty), tol=1e-10, max_iter=10_000)
        model.fit(read, p.y[:, label], sample_weight=p.weights[:, label])
        np.testing.assert_allclose(np.append(p.w[:, label], p.u[:, label]), model.coef_[0], atol=2e-3)
        assert p.b[label] == pytest.approx(model.intercept_[0], abs=2e-3)


def test_the_codes_are_those_of_a_generic_solver() -> None:
    p = problem()
    before = objective(p)
    for _ in range(40):
        p.step_codes()
    assert objective(p) < before
    distances = p.distances()
    for i in range(0, 60, 10):

        def cost(code: np.ndarray, i: int = i) -> float:
            f = p.x[i] @ p.w + code @ p.u + p.b
            loss = (p.weights[i] * np.logaddexp(0, -p.y[i] * f)).sum()
            return float(loss + p.locality * code @ distances[i])

        best = minimize(
            cost,
            np.full(4, 0.25),
            method="SLSQP",
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda code: code.sum() - 1},
            options={"ftol": 1e-12},
        )
        assert p.codes[i].min() >= 0 and p.codes[i].sum() == pytest.approx(1)
        assert cost(p.codes[i]) == pytest.approx(best.fun, abs=1e-5)


def test_the_centres_are_weighted_means_of_the_cells_that_count() -> None:
    p = problem()
    p.codes[:, 3], p.codes[:, 0] = 0, p.codes[:, 0] + p.codes[:, 3]
    kept = p.centres[3].copy()
    p.step_centres()
    for j in range(3):
        for label in range(3):
            rows = np.flatnonzero(p.cells[:, label])
            expected = sum(p.codes[i, j] * p.y[i, label] for i in rows) / sum(p.codes[i, j] for i in rows)
            assert p.centres[j, label] == pytest.approx(expected)
    assert np.array_equal(p.centres[3], kept)


def test_the_nearest_point_of_the_simplex_is_that_of_a_generic_solver() -> None:
    points = np.random.default_rng(0).normal(size=(8, 4))
    found = on_simplex(torch.from_numpy(points)).numpy()
    for point, nearest in zip(points, found, strict=True):
        best = minimize(
            lambda z, point=point: ((z - point) ** 2).sum(),
            np.full(4, 0.25),
            method="SLSQP",
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda z: z.sum() - 1},
            options={"ftol": 1e-14},
        )
        np.testing.assert_allclose(nearest, best.x, atol=1e-6)


def test_the_first_round_counts_the_easy_share_of_each_labels_positives_and_negatives() -> None:
    p = problem()
    limits, losses = p.limits(0.5), p.losses()
    for label in range(3):
        for sign in (-1, 1):
            alike = p.cells[:, label] & (p.y[:, label] == sign)
            counted = (losses < limits)[alike, label]
            assert counted.mean() == pytest.approx(0.5, abs=1 / alike.sum())
            assert losses[alike, label][counted].max() < losses[alike, label][~counted].min()
    assert (losses < p.limits(1.0))[p.cells].all()


@pytest.mark.parametrize("pace", PACES)
def test_each_round_lowers_the_objective_at_its_pace(pace: Any, caplog: pytest.LogCaptureFixture) -> None:
    x, target, known = data()
    method = MLSPL(VGGSmall(channels=[8, 8]), LABELS, pace=pace, penalty=0.4, locality=0.05, groups=4, rounds=6)
    with caplog.at_level("INFO", logger="retdm"):
        method.fit(x, target, known)
    found = method.details()
    assert len(found["objective"]) == 6 or pace == "none"
    assert all(after <= before for before, after in zip(found["begun"], found["objective"], strict=True))
    assert found["objective"][0] < found["begun"][0]
    assert f"{found['objective'][-1]:.6g}" in caplog.text
    if pace == "none":
        assert len(found["objective"]) > 1 and (np.diff(found["objective"]) < 0).all()
        assert found["weight"] == pytest.approx([1.0] * len(found["weight"]))
    else:
        assert 0 < found["weight"][0] < found["weight"][-1] <= 1


def test_scores_are_sigmoids_of_features_and_predicted_codes() -> None:
    x, target, known = data()
    method = MLSPL(VGGSmall(channels=[8, 8]), LABELS, pace="none", penalty=0.4, groups=4, code_ridge=7.0)
    method.fit(x, target, known)
    p = Problem((x - x.mean(0)) / x.std(0), np.where(target > 0, 1.0, -1.0), known, 0.4, 100.0)
    p.solve("none", 0.5, 10, 4, 0)
    a = np.hstack([p.x, np.ones((60, 1))])
    lines = np.linalg.solve(a.T @ a + 7 * np.diag([1.0] * 5 + [0.0]), a.T @ p.codes)
    codes = on_simplex(torch.from_numpy(a @ lines)).numpy()
    expected = 1 / (1 + np.exp(-(p.x @ p.w + codes @ p.u + p.b)))
    np.testing.assert_allclose(method.decision(torch.from_numpy(x)).numpy(), expected, rtol=1e-9)


def test_mlloc_is_mlspl_without_a_pace() -> None:
    ours, other = (compose_settings([f"method={name}"]).method for name in ("mlloc", "mlspl"))
    assert ours == other | {"pace": "none"}
