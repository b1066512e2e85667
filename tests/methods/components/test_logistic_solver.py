"""The solver of L2 logistic regressions: its lines are where the objective's gradient vanishes, and scikit-learn's."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from retdm.methods.components.logistic_solver import fit_lines, principal_axes, with_ones


def drawn(n: int, width: int, labels: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """Rows of unlike scales, of which the labels depend on some, and each label known in most rows."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, width)) * np.geomspace(1, 0.05, width)
    target = x @ rng.normal(size=(width, labels)) + rng.normal(size=(n, labels)) > 0.5
    known = rng.random((n, labels)) < 0.8
    return x, target, known


def gradient(w: Any, x: Any, target: Any, known: Any, ridge: Any) -> Any:
    """Of the objective as PyTorch differentiates it, in float64."""
    lines = torch.from_numpy(w).requires_grad_()
    logits = torch.from_numpy(x) @ lines.T
    losses = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(target).double(), reduction="none")
    penalty = (torch.from_numpy(ridge) * lines**2).sum() / 2
    ((losses * torch.from_numpy(known)).sum() + penalty).backward()
    assert lines.grad is not None
    return lines.grad.numpy()


@pytest.mark.parametrize(("n", "width"), [(60, 8), (20, 50), (30, 1), (30, 30)])
def test_axes_are_orthonormal_span_the_rows_and_leave_them_uncorrelated(n: int, width: int) -> None:
    x = drawn(n, width, 1)[0]
    axes = principal_axes(x)
    assert axes.shape == (width, min(n, width))
    np.testing.assert_allclose(axes.T @ axes, np.eye(min(n, width)), atol=1e-12)
    np.testing.assert_allclose(x @ axes @ axes.T, x, atol=1e-12)
    products = (x @ axes).T @ (x @ axes)
    np.testing.assert_allclose(products, np.diag(products.diagonal()), atol=1e-10)


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize(("n", "width", "labels"), [(80, 10, 3), (40, 70, 2), (50, 1, 1)])
def test_the_gradient_vanishes_where_it_stops(n: int, width: int, labels: int, penalty: float, free: bool) -> None:
    x, target, known = drawn(n, width, labels)
    rows, own = with_ones(x @ principal_axes(x)), 0.0 if free else penalty
    lines = fit_lines(rows, target, known, penalty, own)
    ridge = np.append(np.full(rows.shape[1] - 1, penalty), own)
    at_zero = np.abs(gradient(np.zeros_like(lines), rows, target, known, ridge)).max()
    assert np.abs(gradient(lines, rows, target, known, ridge)).max() < 1e-5 * at_zero


@pytest.mark.parametrize("penalty", [0.05, 1.0])
def test_lines_are_those_of_scikit_learn_label_by_label(penalty: float) -> None:
    x, target, known = drawn(80, 10, 3)
    lines = fit_lines(with_ones(x), target, known, penalty)
    for j, line in enumerate(lines):
        model = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000)
        model.fit(x[known[:, j]], target[known[:, j], j])
        np.testing.assert_allclose(line, [*model.coef_[0], *model.intercept_], atol=1e-4)


def test_neither_other_labels_nor_the_start_nor_the_axes_move_the_optimum() -> None:
    x, target, known = drawn(60, 12, 4)
    rows, axes = with_ones(x), principal_axes(x)
    lines = fit_lines(rows, target, known, 0.3)
    alone = [fit_lines(rows, target[:, [j]], known[:, [j]], 0.3)[0] for j in range(4)]
    np.testing.assert_allclose(lines, alone, atol=1e-5)
    start = np.random.default_rng(1).normal(size=lines.shape)
    np.testing.assert_allclose(lines, fit_lines(rows, target, known, 0.3, start=start), atol=1e-5)
    turned = fit_lines(with_ones(x @ axes), target, known, 0.3)
    np.testing.assert_allclose(lines, np.append(turned[:, :-1] @ axes.T, turned[:, -1:], 1), atol=1e-5)


def test_what_an_unknown_cell_says_changes_nothing() -> None:
    x, target, known = drawn(60, 12, 2)
    np.testing.assert_array_equal(*(fit_lines(with_ones(x), target ^ flip, known, 0.3) for flip in (False, ~known)))


def test_a_constant_label_has_the_odds_of_its_prior_from_wherever_it_starts() -> None:
    x, target, known = drawn(30, 5, 3)
    target[:, 0], known[:, 0], known[:, 2] = True, True, False
    for start in (None, np.ones((3, 6))):
        lines = fit_lines(with_ones(x), target, known, 0.3, start=start)
        assert not lines[[0, 2], :-1].any() and lines[1, :-1].all()
        np.testing.assert_allclose(lines[[0, 2], -1], [np.log(31), 0])
