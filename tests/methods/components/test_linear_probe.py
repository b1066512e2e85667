"""The linear probe: the optimum of its objective, its strength and its scores by plainly looped cross-validation."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from retdm.methods.components import linear_probe
from retdm.methods.components.linear_probe import STRENGTHS, Probe, fit_probe
from retdm.methods.components.logistic_solver import fit_lines, with_ones

FOLDS = 4


def drawn(n: int = 60, width: int = 20, labels: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features like pooled ones, never negative and of unlike scales, and labels that depend on them."""
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(n, width)), 0) * rng.lognormal(0, 1, width)
    logits = x @ rng.normal(size=(width, labels))
    target = logits + rng.normal(size=logits.shape) > np.quantile(logits, 0.6, axis=0)
    known = rng.random((n, labels)) < 0.85
    return torch.from_numpy(x).float(), torch.from_numpy(target).float(), torch.from_numpy(known)


def standardised(features: Tensor, probe: Probe) -> Tensor:
    return (features.double() - probe.mean.double()) / probe.deviation.double()


def folds_of(n: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).permutation(n) % FOLDS


def by_scikit_learn(z: Any, target: Any, known: Any, strength: float) -> list[tuple[Any, float]]:
    """Weight and bias of each label by a fit of its own, of rows z on which ½ strength ‖W · √F‖² weighs."""
    found = []
    for j in range(target.shape[1]):
        rows = known[:, j]
        positives, n = float(target[rows, j].sum()), float(rows.sum())
        if positives in (0, n):
            prior = (positives + 1) / (n + 2)
            found.append((np.zeros(z.shape[1]), float(np.log(prior / (1 - prior)))))
            continue
        unit = np.sqrt(z.shape[1])
        model = LogisticRegression(C=1 / (len(z) * strength), tol=1e-8, max_iter=10_000)
        model.fit(z[rows] / unit, target[rows, j])
        found.append((model.coef_[0] / unit, float(model.intercept_[0])))
    return found


@pytest.mark.parametrize(("n", "width", "labels"), [(60, 20, 3), (30, 100, 2), (40, 1, 1)])
def test_the_gradient_of_the_plain_objective_vanishes(n: int, width: int, labels: int) -> None:
    features, target, known = drawn(n, width, labels)
    probe = fit_probe(features, target, known)
    z = standardised(features, probe)

    def slope(weight: Tensor, bias: Tensor) -> float:
        weight, bias = weight.double().requires_grad_(), bias.double().requires_grad_()
        losses = F.binary_cross_entropy_with_logits(z @ weight.T + bias, target.double(), reduction="none") * known
        penalty = probe.strength / 2 * (weight * width**0.5).square().sum()
        (losses.sum(1).mean() + penalty).backward()
        assert weight.grad is not None and bias.grad is not None
        return max(float(weight.grad.abs().max()), float(bias.grad.abs().max()))

    assert slope(probe.weight, probe.bias) < 1e-4 * slope(torch.zeros(labels, width), torch.zeros(labels))


@pytest.mark.parametrize("strength", [1e-3, 1e-1])
def test_lines_are_those_of_scikit_learn(strength: float) -> None:
    features, target, known = drawn()
    probe = fit_probe(features, target, known, strengths=[strength])
    assert probe.strength == strength
    expected = by_scikit_learn(standardised(features, probe).numpy(), target.numpy(), known.numpy(), strength)
    for weight, bias, (line, intercept) in zip(probe.weight, probe.bias, expected, strict=True):
        np.testing.assert_allclose(weight, line, atol=1e-3)
        np.testing.assert_allclose(bias, intercept, atol=1e-3)


def test_strength_and_scores_are_those_of_a_plain_cross_validation() -> None:
    features, target, known = drawn()
    target[:, 2] = 0
    target[np.flatnonzero(folds_of(60) == 1)[:2], 2] = 1  # constant in the rows that fold 1 leaves
    known[folds_of(60) == 1, 2] = True
    probe = fit_probe(features, target, known)
    z, fold = standardised(features, probe).numpy(), folds_of(60)
    losses, scores = {}, {}
    for strength in STRENGTHS:
        logits = np.zeros((60, 3))
        for held in range(FOLDS):
            rows = fold != held
            lines = by_scikit_learn(z[rows], target.numpy()[rows], known.numpy()[rows], strength)
            logits[~rows] = np.stack([z[~rows] @ line + intercept for line, intercept in lines], 1)
        scores[strength] = 1 / (1 + np.exp(-logits))
        likelihood = np.where(target > 0, scores[strength], 1 - scores[strength])
        losses[strength] = -np.log(likelihood[known.numpy()]).sum()
    assert probe.strength == min(losses, key=lambda each: losses[each])
    assert len(set(losses.values())) == len(STRENGTHS)
    np.testing.assert_allclose(probe.scores, scores[probe.strength], atol=1e-3)


def test_a_label_is_fitted_to_the_rows_where_it_is_known() -> None:
    features, target, known = drawn(labels=2)
    known[:, 1] = True
    probe = fit_probe(features, target, known, strengths=[1e-2])
    rows = known[:, 0]
    z = standardised(features, probe)[rows].numpy()
    share = float(rows.double().mean())  # the penalty weighs against the mean over all rows, known or not
    (line, intercept), _ = by_scikit_learn(z, target[rows].numpy(), known[rows].numpy(), 1e-2 / share)
    np.testing.assert_allclose(probe.weight[0], line, atol=1e-3)
    np.testing.assert_allclose(probe.bias[0], intercept, atol=1e-3)
    other = fit_probe(features, torch.where(known, target, 1 - target), known, strengths=[1e-2])
    assert all(torch.equal(a, b) for a, b in zip(probe[:4], other[:4], strict=True))


def test_a_constant_label_and_one_that_is_nowhere_known_have_the_odds_of_their_prior() -> None:
    features, target, known = drawn(labels=4)
    target[:, 1] = 1
    known[:, 1:3] = torch.tensor([True, False])
    probe = fit_probe(features, target, known)
    assert not probe.weight[1:3].any() and probe.weight[0].any() and probe.weight[3].any()
    positives = (target * known).sum(0)
    prior = (positives + 1) / (known.sum(0) + 2)
    torch.testing.assert_close(probe.log_odds, (prior / (1 - prior)).log())
    torch.testing.assert_close(probe.bias[1:3], probe.log_odds[1:3])
    assert probe.log_odds[2] == 0
    nothing = fit_probe(features, target, torch.zeros_like(known))
    assert not nothing.weight.any() and not nothing.bias.any() and nothing.strength == max(STRENGTHS)
    assert (nothing.scores == 0.5).all()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_there_may_be_fewer_rows_than_folds(n: int) -> None:
    features, target, known = drawn(n)
    probe = fit_probe(features, target, torch.ones_like(known))
    assert probe.scores.shape == (n, 3) and probe.weight.shape == (3, 20)
    assert all(values.isfinite().all() for values in probe if isinstance(values, Tensor))


def test_a_constant_feature_is_not_divided_and_has_no_weight() -> None:
    features, target, known = drawn()
    features[:, 4] = 0.1  # whose deviation is above 0 by rounding
    probe = fit_probe(features, target, known)
    assert probe.deviation[4] == 1 and probe.mean[4] == features[0, 4]
    assert probe.weight[:, 4].abs().max() < 1e-12 < probe.weight[:, 3].abs().min()
    torch.testing.assert_close(probe.mean, features.mean(0))
    others = torch.arange(20) != 4
    torch.testing.assert_close(probe.deviation[others], features.std(0, correction=0)[others])


def test_it_is_a_function_of_its_arguments_and_draws_nothing_from_the_process() -> None:
    given = drawn()
    generator, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = fit_probe(*given)
    assert torch.equal(torch.get_rng_state(), generator)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    again = fit_probe(*given)
    assert all(a == b if isinstance(a, float) else torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_of_many_rows_a_sample_chooses_the_strength_and_all_have_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    given = drawn(80)
    whole = fit_probe(*given)
    monkeypatch.setattr(linear_probe, "SAMPLE", 50)
    probe = fit_probe(*given)
    single = fit_probe(*given, strengths=[probe.strength])
    assert probe.strength in STRENGTHS and whole.scores.shape == probe.scores.shape
    assert all(torch.equal(a, b) for a, b in zip(probe, single, strict=True) if isinstance(a, Tensor))


def test_progress_counts_the_strengths_until_the_loss_rises() -> None:
    seen: list[float] = []

    def progress(strengths: Any) -> Any:
        for strength in strengths:
            seen.append(strength)
            yield strength

    probe = fit_probe(*drawn(), progress=progress)
    path = sorted(STRENGTHS, reverse=True)
    assert seen == path[: path.index(probe.strength) + 2] and len(seen) < len(path)


def test_weighted_positives_count_in_the_lines_the_prior_and_the_choice_of_a_strength() -> None:
    features, target, known = drawn()
    weights = torch.tensor([4.0, 1.0, 0.5])
    probe = fit_probe(features, target, known, pos_weight=weights)
    z, given, losses = standardised(features, probe), torch.from_numpy(folds_of(60)), {}
    for strength in STRENGTHS:
        logits = torch.zeros(60, 3, dtype=torch.float64)
        for held in range(FOLDS):
            rest = given != held
            part = [column[rest].numpy() for column in (z / 20**0.5, target > 0, known)]
            lines = fit_lines(with_ones(part[0]), *part[1:], strength * rest.sum(), pos_weight=weights.numpy())
            logits[~rest] = torch.from_numpy(with_ones((z[~rest] / 20**0.5).numpy()) @ lines.T)
        cells = F.binary_cross_entropy_with_logits(logits, target.double(), pos_weight=weights, reduction="none")
        losses[strength] = float((cells * known).sum())
    assert probe.strength == min(losses, key=lambda each: losses[each])
    plain = fit_probe(features, target, known)
    torch.testing.assert_close(probe.log_odds, plain.log_odds + weights.log())
    assert (probe.scores[:, 0] > plain.scores[:, 0]).all() and probe.scores[:, 2].mean() < plain.scores[:, 2].mean()
