"""DBA: that its bound is one and rises, and that what it infers of new bags follows from its model."""

import math
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import fitted_toys
import numpy as np
import pytest
import torch
from fitted_toys import Toy, instances_scored, scored, toy
from scipy.special import psi
from scipy.stats import dirichlet, norm

from retdm.methods.on_bags import dba
from retdm.methods.on_bags.dba import LabelModel

fitted = partial(fitted_toys.fitted, "dba", rounds=10)


def counts(given: Toy) -> Toy:
    """The toy with features that are counts: 2 and the place's own many."""
    instances = np.round(np.exp(given.examples.instances.clip(-2, 3)))
    return given._replace(examples=replace(given.examples, instances=instances.astype(np.float32)))


@pytest.mark.parametrize("emission", ["histogram", "gaussian"])
@pytest.mark.parametrize("penalty", [1e-4, 1.0])
def test_the_bound_never_falls(emission: str, penalty: float) -> None:
    objective = np.array(fitted(counts(toy()), emission=emission, penalty=penalty, rounds=40).objective)
    assert len(objective) == 40
    assert (np.diff(objective) >= -1e-9 * np.abs(objective[1:])).all()
    assert objective[-1] > objective[0] + 1


def test_each_pass_over_shares_raises_the_bound_however_steep_the_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(4) < torch.tensor([1, 2, 3, 4, 4, 4])[:, None]
    evidence = torch.randn(6, 4, 3, generator=generator, dtype=torch.float64) * mask[..., None]
    sign = torch.randint(-1, 2, (6, 3), generator=generator) / 2.0
    alpha = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    labels = LabelModel(
        sign.double(), torch.tensor([60.0, -30.0, 8.0]).double(), torch.tensor([-9.0, 4.0, 0.0]).double()
    )
    share = torch.softmax(evidence, 2) * mask[..., None]
    values = []
    for _ in range(30):
        share, gamma = dba.infer(evidence, mask, alpha, share, 1, labels)
        values.append(float(dba.bound(evidence, mask, alpha, share, gamma, labels)))
    assert (np.diff(values) >= -1e-10).all()
    assert values[-1] > values[0]


def test_the_bound_lies_below_the_likelihood_that_it_bounds() -> None:
    """One bag of two instances, two classes: classes summed over, theta over a fine grid."""
    evidence = torch.tensor([[[0.5, -1.0], [-2.0, 0.3]]], dtype=torch.float64)
    mask, alpha = torch.ones(1, 2, dtype=torch.bool), torch.tensor([0.8, 1.5], dtype=torch.float64)
    labels = LabelModel(
        torch.tensor([[0.5, -0.5]]).double(), torch.tensor([2.0, 3.0]).double(), torch.tensor([-1.0, 0.5])
    )
    share = torch.full((1, 2, 2), 0.5, dtype=torch.float64)
    share, gamma = dba.infer(evidence, mask, alpha, share, 200, labels)
    bound = float(dba.bound(evidence, mask, alpha, share, gamma, labels))
    total = 0.0
    for z in product((0, 1), repeat=2):
        counted = np.bincount(z, minlength=2)
        theta = math.gamma(2.3) / math.gamma(2.3 + 2)
        theta *= math.prod(math.gamma(a + c) / math.gamma(a) for a, c in zip((0.8, 1.5), counted, strict=True))
        features = math.exp(sum(float(evidence[0, j, k]) for j, k in enumerate(z)))
        first = 1 / (1 + math.exp(-(2.0 * counted[0] / 2 - 1.0)))
        second = 1 - 1 / (1 + math.exp(-(3.0 * counted[1] / 2 + 0.5)))
        total += theta * features * first * second
    assert math.log(total) - 0.5 < bound < math.log(total)


def test_alpha_goes_where_the_dirichlets_likelihood_is_highest() -> None:
    theta = np.random.default_rng(0).dirichlet([0.5, 2.0, 4.0], 400)
    gamma = torch.from_numpy(theta * 1e7)  # digamma differences are then the logarithms of theta
    alpha = dba.fit_alpha(torch.ones(3, dtype=torch.float64), gamma, times=200).numpy()

    def likelihood(values: Any) -> float:
        return float(sum(dirichlet.logpdf(row, values) for row in theta))

    best = likelihood(alpha)
    for place, factor in product(range(3), (0.97, 1.03)):
        moved = alpha.copy()
        moved[place] *= factor
        assert likelihood(moved) < best
    assert (dba.fit_alpha(torch.ones(3).double(), gamma[:, :3] * torch.tensor([1e-9, 1, 1]))[0]) == dba.SMALLEST


def test_likelihoods_are_those_of_the_distributions() -> None:
    rng = np.random.default_rng(0)
    x, share = rng.normal(1, 2, (30, 4)), rng.dirichlet([1, 1], 30)
    rows, parts = torch.from_numpy(x), torch.from_numpy(share)
    parameters, _ = dba.fit_emission(rows, parts, "gaussian", 1e-9)
    for k in (0, 1):
        mean = np.average(x, 0, share[:, k])
        deviation = np.sqrt(np.average((x - mean) ** 2, 0, share[:, k]))
        expected = norm.logpdf(x, mean, deviation).sum(1)
        np.testing.assert_allclose(dba.likelihood(rows, *parameters)[:, k], expected, atol=1e-6)
    counted = torch.from_numpy(np.abs(x))
    parameters, _ = dba.fit_emission(counted, parts, "histogram", 2.0)
    for k in (0, 1):
        words = (share[:, k, None] * np.abs(x)).sum(0) + 2 * np.abs(x).mean(0)
        expected = np.abs(x) @ np.log(words / words.sum())
        np.testing.assert_allclose(dba.likelihood(counted, *parameters)[:, k], expected, atol=1e-6)


def test_new_bags_are_inferred_by_passes_over_classes_and_theta() -> None:
    given, new = toy(), toy(seed=1)
    method = fitted(given)
    scores = scored(method, new.examples)
    instances = np.split(instances_scored(method, new.examples), new.examples.offsets[1:-1])
    alpha, classes = method.alpha.numpy(), method.classes.numpy()
    assert classes.tolist() == [0, 1]  # no bag has the third label
    for i in range(10):
        x = torch.from_numpy((new.bag(i) - method.mean.numpy()) / method.deviation.numpy())
        evidence = dba.likelihood(x, method.intercept, method.linear, method.square).numpy()
        share = np.full(evidence.shape, 0.5)
        for _ in range(dba.PASSES):
            share = np.exp(evidence + psi(alpha + share.sum(0)))
            share /= share.sum(1, keepdims=True)
        expected = 1 / (1 + np.exp(-(method.slope.numpy() * share.mean(0) + method.offset.numpy())))
        np.testing.assert_allclose(scores[i, :2], expected, atol=1e-9)
        np.testing.assert_allclose(instances[i][:, :2], share, atol=1e-9)
        assert (instances[i][:, 2] == 0).all()
    assert scores[:, 2] == pytest.approx(1 / 62)


@pytest.mark.parametrize("emission", ["histogram", "gaussian"])
def test_instances_get_the_class_that_they_were_made_of(emission: str) -> None:
    """Every instance is of a class of its bag, so the model is right."""
    rng = np.random.default_rng(0)
    given = toy(n=120)
    owner = given.examples.bag_index()
    own = np.array([rng.choice(np.flatnonzero(row[:2])) if row.any() else 0 for row in given.target[owner]])
    target = np.stack([np.bincount(owner[own == k], minlength=120) > 0 for k in (0, 1, 2)], 1)
    instances = rng.poisson(1 + 6 * np.eye(4)[own]).astype(np.float32)
    made_of = Toy(replace(given.examples, instances=instances), target.astype(np.uint8), given.known)
    method = fitted(made_of, emission=emission)
    assert (instances_scored(method, made_of.examples).argmax(1) == own).mean() > 0.9
    assert ((scored(method, made_of.examples) >= 0.5) == made_of.target).mean() > 0.8


def test_the_data_decide_between_counts_and_gaussians_unless_it_is_set() -> None:
    assert fitted(toy()).square.any()
    assert not fitted(counts(toy())).square.any()
    assert fitted(counts(toy()), emission="gaussian").square.any()


def test_words_are_how_much_a_histogram_weighs() -> None:
    given = counts(toy())
    average = float(given.examples.instances.sum(1).mean())
    scaled = replace(given.examples, instances=given.examples.instances * 4)
    np.testing.assert_allclose(
        scored(fitted(given, words=4 * average), given.examples),
        scored(fitted(given._replace(examples=scaled)), scaled),
    )
    assert not np.allclose(
        scored(fitted(given, words=4 * average), given.examples), scored(fitted(given), given.examples)
    )


@pytest.mark.parametrize("value", [0, 1])
def test_where_all_bags_have_one_label_set_instances_are_of_all_classes_or_none(value: int) -> None:
    given = toy(n=20)
    method = fitted(given._replace(target=np.full_like(given.target, value)))
    assert instances_scored(method, given.examples).sum(1) == pytest.approx(value)
