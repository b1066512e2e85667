"""Methods by distances between bags: their scores, the same from a table and from distances that they compute."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fitted_toys import LABELS, Toy, decisions, scored, toy
from sklearn.svm import SVC

from retdm.backbones import NoBackbone
from retdm.bags import Bags
from retdm.methods.components.bag_distances import bag_distances
from retdm.methods.components.clustering import k_medoids
from retdm.methods.components.standardise import shift_and_spread
from retdm.methods.on_bags.distance_method import DistanceMethod
from retdm.methods.on_bags.emd_svm import EMDSVM
from retdm.methods.on_bags.mimlknn import MIMLkNN
from retdm.methods.on_bags.mimlsvm import MIMLSVM

METHODS = (MIMLSVM, MIMLkNN, EMDSVM)


def made(kind: type[DistanceMethod], **settings: Any) -> DistanceMethod:
    return kind(NoBackbone(4), LABELS, **settings)


def split(given: Toy, n: int = 40) -> tuple[Toy, Bags]:
    """The first n bags, to fit to, and the others."""
    first = np.arange(len(given.target)) < n
    train = Toy(given.examples.take(first), given.target[first], given.known[first])
    return train, given.examples.take(~first)


def as_new(examples: Bags) -> Bags:
    """The same bags, of no data set."""
    return replace(examples, index=np.full(len(examples), -1))


def between(method: DistanceMethod, rows: Bags, columns: Bags, scale_of: Bags) -> np.ndarray:
    shift, spread = shift_and_spread(method.scale, [scale_of.instances])
    scaled = [bags.scaled(shift, spread) for bags in (rows, columns)]
    return bag_distances(method.distance, *scaled).astype(np.float64)


def give_table(method: DistanceMethod, examples: Bags) -> None:
    method.use_distances(
        between(method, examples, examples, examples), *shift_and_spread(method.scale, [examples.instances])
    )


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("scale", ["minmax", "standard", "none"])
def test_a_table_and_distances_that_are_computed_give_the_same_scores(kind: Any, scale: str) -> None:
    given = toy()
    train, rest = split(given)
    method = made(kind, scale=scale)
    give_table(method, given.examples)
    method.fit(*train)
    by_table, computed = scored(method, rest), scored(method, as_new(rest))
    np.testing.assert_allclose(by_table, computed, atol=1e-6)
    assert by_table[:, :2].std() > 0.01
    # Without a table the scale is that of the training bags: give it those of all.
    alone = made(kind, scale=scale)
    give_table(alone, given.examples)
    alone.fit(*train)
    alone.table = None
    np.testing.assert_allclose(scored(alone, rest), by_table, atol=1e-6)


@pytest.mark.parametrize("kind", METHODS)
def test_a_method_without_a_table_scales_by_its_training_bags(kind: Any) -> None:
    train, rest = split(toy())
    alone, tabled = made(kind, scale="minmax"), made(kind, scale="minmax")
    alone.fit(*train)
    give_table(tabled, train.examples)
    tabled.fit(*train)
    np.testing.assert_allclose(scored(alone, as_new(rest)), scored(tabled, as_new(rest)), atol=1e-6)


# MIMLSVM


def test_mimlsvm_scores_are_those_of_scikit_learn_on_distances_to_medoids() -> None:
    train, rest = split(toy())
    method = made(MIMLSVM, C=3.0, gamma=0.5)
    method.fit(*train)
    medoids = k_medoids(between(method, train.examples, train.examples, train.examples), 8, 0)
    assert method.details() == {"gamma": 0.5, "C": 3.0, "kept": 8}
    x = between(method, train.examples, train.examples, train.examples)[:, medoids]
    new = between(method, rest, train.examples, train.examples)[:, medoids]
    found = decisions(scored(method, as_new(rest)))
    for label in (0, 1):
        expected = SVC(C=3.0, gamma=0.5).fit(x, train.target[:, label]).decision_function(new)
        np.testing.assert_allclose(found[:, label], expected, atol=1e-9)


# MIMLkNN


def test_mimlknn_is_what_its_paper_says_in_plain_loops() -> None:
    train, rest = split(toy())
    r, c = 3, 5
    method = made(MIMLkNN, references=r, citers=c)
    method.fit(*train)
    own = between(method, train.examples, train.examples, train.examples)
    new = between(method, rest, train.examples, train.examples)

    def counts(row: np.ndarray, itself: int | None) -> np.ndarray:
        others = [j for j in range(40) if j != itself]
        near = set(sorted(others, key=lambda j: row[j])[:r])
        for j in others:
            rivals = [own[j, i] for i in range(40) if i not in (j, itself)]
            if sum(rival < row[j] for rival in rivals) < c:
                near.add(j)
        return train.target[sorted(near)].sum(0)

    own_counts = np.array([counts(own[i], i) for i in range(40)])
    weights = np.linalg.pinv(own_counts) @ np.where(train.target > 0, 1.0, -1.0)
    expected = np.array([counts(row, None) for row in new]) @ weights
    found = decisions(scored(method, as_new(rest)))
    np.testing.assert_allclose(found[:, :2], expected[:, :2], atol=1e-9)


def test_neighbours_at_equal_distances_are_all_or_none() -> None:
    """Bags in another order have other neighbours only where a tie was broken."""
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 3, (30, 4)).astype(np.float32)
    target = (rng.random((30, 3)) < 0.5).astype(np.uint8)
    order, known = rng.permutation(30), np.ones((30, 3), bool)
    found = []
    for places in (np.arange(30), order):
        method = made(MIMLkNN, references=4, citers=4)
        method.fit(Bags(rows[places], np.arange(31), places), target[places], known)
        found.append(scored(method, as_new(Bags(rows, np.arange(31), np.arange(30)))))
    np.testing.assert_allclose(*found, atol=1e-9)


def test_more_neighbours_than_bags_are_all_bags() -> None:
    train, rest = split(toy(), 8)
    scores = []
    for many in (8, 1000):
        method = made(MIMLkNN, references=many, citers=many)
        method.fit(*train)
        scores.append(scored(method, as_new(rest)))
    np.testing.assert_array_equal(*scores)


# EMD-SVM


@pytest.mark.parametrize("distance", ["emd", "max_hausdorff"])
def test_emd_svm_scores_are_those_of_scikit_learn_on_the_kernel(distance: Any) -> None:
    train, rest = split(toy())
    method = made(EMDSVM, distance=distance)
    method.fit(*train)
    own = between(method, train.examples, train.examples, train.examples)
    kernel = np.exp(-own / own.mean())
    new = np.exp(-between(method, rest, train.examples, train.examples) / own.mean())
    assert np.linalg.eigvalsh(kernel).min() > 0
    found = decisions(scored(method, as_new(rest)))
    for label in (0, 1):
        model = SVC(C=10.0, kernel="precomputed").fit(kernel, train.target[:, label])
        np.testing.assert_allclose(found[:, label], model.decision_function(new), atol=1e-6)


def test_a_kernel_with_negative_eigenvalues_is_clipped_for_training_and_new_bags_alike() -> None:
    rng = np.random.default_rng(0)
    distance = rng.random((30, 30)) * 5  # no metric
    distance = np.triu(distance, 1) + np.triu(distance, 1).T
    target = (rng.random((30, 3)) < 0.5).astype(np.uint8)
    method = made(EMDSVM, C=1.0)
    kept = method.fit_distances(distance, target, np.ones((30, 3), bool))
    kernel = np.exp(-distance / distance.mean())
    values, vectors = np.linalg.eigh(kernel)
    assert values.min() < -0.1
    clipped = (vectors * values.clip(0)) @ vectors.T
    found = method.values_at(torch.from_numpy(distance[:, kept])).numpy()
    for label in range(3):
        model = SVC(C=1.0, kernel="precomputed").fit(clipped, target[:, label])
        np.testing.assert_allclose(found[:, label], model.decision_function(clipped), atol=1e-6)
