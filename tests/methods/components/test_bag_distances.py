"""Distances between bags against what their definitions say in plain loops."""

import itertools
from typing import get_args

import numpy as np
import pytest

from retdm.bags import Bags
from retdm.methods.components import bag_distances as distances
from retdm.methods.components.bag_distances import Kind, bag_distances, blocks, earth_movers_distance

KINDS = get_args(Kind)


def bag_list(bags: list[np.ndarray]) -> Bags:
    return Bags(np.concatenate(bags), np.cumsum([0, *map(len, bags)]), np.arange(len(bags)))


def drawn(sizes: list[int], seed: int = 0, dim: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, (size, dim)) for size in sizes]


def by_definition(kind: str, a: np.ndarray, b: np.ndarray) -> float:
    cost = np.array([[np.sqrt(((x - y) ** 2).sum()) for y in b] for x in a])
    if kind == "emd":  # of all ways to pair equal pieces, the cheapest
        pieces = np.lcm(*cost.shape)
        square = cost.repeat(pieces // len(a), 0).repeat(pieces // len(b), 1)
        ways = itertools.permutations(range(pieces))
        return min(sum(square[i, j] for i, j in enumerate(way)) for way in ways) / pieces
    nearest = [row.min() for row in cost] + [column.min() for column in cost.T]
    return {"max_hausdorff": max, "average_hausdorff": np.mean, "min_hausdorff": min}[kind](nearest)


@pytest.mark.parametrize("kind", KINDS)
def test_distances_are_what_their_definition_says(kind: Kind) -> None:
    a, b = drawn([1, 2, 3, 6]), drawn([3, 1, 2], seed=1)
    expected = [[by_definition(kind, x, y) for y in b] for x in a]
    np.testing.assert_allclose(bag_distances(kind, bag_list(a), bag_list(b)), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_change_nothing(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = bag_list(drawn([4, 1, 7, 2, 2])), bag_list(drawn([2, 9, 1, 3], seed=1))
    whole = bag_distances(kind, a, b)
    monkeypatch.setattr(distances, "BLOCK", 5)
    assert [(part.start, part.stop) for part in blocks(a.offsets)] == [(0, 2), (2, 3), (3, 5)]
    np.testing.assert_array_equal(bag_distances(kind, a, b), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_bags_lie_at_exactly_zero_and_near_ones_keep_their_digits(kind: Kind) -> None:
    here = drawn([3], dim=5)[0] + 1000
    moved = here + 1e-7
    found = bag_distances(kind, bag_list([here]), bag_list([here[::-1], moved]))
    assert found[0, 0] == 0
    steps = np.sqrt(((moved - here) ** 2).sum(1))
    assert steps.min() * (1 - 1e-6) <= found[0, 1] <= steps.max() * (1 + 1e-6)


def test_few_differences_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = 1000 + 1e-6 * drawn([8])[0]
    monkeypatch.setattr(distances, "REPAIRED", 7)
    expected = ((x[:, None] - x) ** 2).sum(2)
    np.testing.assert_allclose(distances.squared_distances(x, x), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(4, 4), (3, 6), (4, 6), (7, 5)])
def test_the_linear_program_and_the_assignment_agree(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    cost = np.random.default_rng(0).random(shape)
    assigned = earth_movers_distance(cost)
    monkeypatch.setattr(distances, "EXPANDED", 0)
    assert earth_movers_distance(cost) == pytest.approx(assigned, rel=1e-9)
