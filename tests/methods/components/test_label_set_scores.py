import math

import numpy as np
import pytest
import torch
from torch import Tensor

from retdm.methods.components.label_set_scores import best_mixture, label_set_scores

SETS = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]).bool()
COUNTS = torch.tensor([7, 2, 1, 5, 3])


def points(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference(
    image: Tensor, embedding: Tensor, sets: Tensor, counts: Tensor, k: int, scale: float
) -> list[list[float]]:
    """The definition as loops over floats."""
    n = float(counts.sum())
    found = []
    for row in image.tolist():
        distance = [math.dist(row, point) for point in embedding.tolist()]
        near = sorted(range(len(distance)), key=lambda s: distance[s])[:k]
        weight = {s: int(counts[s]) * math.exp(-distance[s] / scale) for s in near}
        scores = []
        for label in range(sets.shape[1]):
            share = sum(weight[s] for s in near if sets[s, label]) / sum(weight.values())
            rows = sum(int(counts[s]) for s in range(len(counts)) if sets[s, label])
            scores.append((n * share + (rows + 0.5) / (n + 1)) / (n + 1))
        found.append(scores)
    return found


@pytest.mark.parametrize("k", [1, 2, 3, 5, 9])  # 9 exceeds the sets
def test_equals_the_definition(k: int) -> None:
    image, embedding = points(6), points(5, seed=1)
    found = label_set_scores(image, embedding, SETS, COUNTS, k=k, scale=0.7)
    expected = torch.tensor(reference(image, embedding, SETS, COUNTS, k, 0.7), dtype=torch.float64)
    assert torch.allclose(found, expected, rtol=1e-12, atol=0)


def test_one_set_alone_gives_its_labels_whatever_the_image() -> None:
    found = label_set_scores(points(4), points(1, seed=1), SETS[1:2], COUNTS[1:2], k=3, scale=0.7)
    assert torch.allclose(found, torch.tensor([17 / 18, 17 / 18, 1 / 18, 1 / 18], dtype=torch.float64))


def test_without_a_set_every_score_is_one_half() -> None:
    found = label_set_scores(points(4), points(0), SETS[:0], COUNTS[:0], k=3, scale=0.7)
    assert torch.equal(found, torch.full((4, 4), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("away", [1e3, 1e6, 1e12])
def test_far_away_every_score_is_a_probability_of_its_own(away: float) -> None:
    image = points(4).float() * away
    found = label_set_scores(image, points(5, seed=1).float(), SETS, COUNTS, k=3, scale=0.2)
    assert ((found > 0) & (found < 1)).all()


def test_on_a_sets_own_embedding_the_score_of_its_labels_is_nearly_one() -> None:
    embedding = 100 * points(5, seed=1)
    found = label_set_scores(embedding, embedding, SETS, COUNTS, k=5, scale=0.2)
    rows = COUNTS.sum()
    assert ((found - SETS.double()).abs() < 1 / (rows + 1)).all()


def test_a_shift_of_the_space_and_the_order_of_the_sets_change_nothing() -> None:
    image, embedding, order = points(6), points(5, seed=1), torch.tensor([3, 0, 4, 2, 1])
    found = label_set_scores(image, embedding, SETS, COUNTS, k=3, scale=0.7)
    moved = label_set_scores(image + 9, embedding[order] + 9, SETS[order], COUNTS[order], k=3, scale=0.7)
    assert torch.allclose(found, moved, rtol=1e-9)


def test_distances_do_not_cancel_in_float32_far_from_the_origin() -> None:
    image, embedding = points(6).float() * 0.01, points(5, seed=1).float() * 0.01
    found = label_set_scores(image + 64, embedding + 64, SETS, COUNTS, k=3, scale=0.01)
    exact = label_set_scores((image + 64).double(), (embedding + 64).double(), SETS, COUNTS, k=3, scale=0.01)
    assert torch.allclose(found.double(), exact, atol=1e-5)


# The mixture


def log_loss(one: np.ndarray, other: np.ndarray, target: np.ndarray, known: np.ndarray, share: float) -> float:
    total = 0.0
    for i, j in zip(*np.nonzero(known), strict=True):
        score = share * one[i, j] + (1 - share) * other[i, j]
        total -= math.log(score if target[i, j] else 1 - score)
    return total


@pytest.mark.parametrize("seed", range(4))
def test_the_mixture_has_the_lowest_log_loss_of_its_grid_over_known_cells(seed: int) -> None:
    g = np.random.default_rng(seed)
    target = (g.random((30, 4)) < 0.4).astype(float)
    one, other = (np.clip(target * 0.4 + 0.3 + g.normal(0, 0.2, target.shape), 0.02, 0.98) for _ in range(2))
    known = g.random(target.shape) < 0.7
    shares = [i / 10 for i in range(11)]
    losses = [log_loss(one, other, target, known, share) for share in shares]
    assert best_mixture(one, other, target, known) == shares[int(np.argmin(losses))]


def test_the_mixture_ends_with_the_better_part_where_one_is_always_better() -> None:
    target = np.array([[1.0, 0.0], [0.0, 1.0]])
    good, bad, known = 0.8 * target + 0.1, np.full((2, 2), 0.5), np.ones((2, 2), bool)
    assert best_mixture(good, bad, target, known) == 1
    assert best_mixture(bad, good, target, known) == 0
    assert best_mixture(bad, bad, target, known) == 1  # the classifier alone, where nothing speaks for the sets
    assert best_mixture(bad, good, target, ~known) == 1


def test_the_mixture_of_certain_scores_that_are_wrong_has_a_finite_loss() -> None:
    target, known = np.array([[1.0, 0.0]]), np.ones((1, 2), bool)
    assert best_mixture(1 - target, np.full((1, 2), 0.5), target, known) == 0
