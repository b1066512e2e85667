"""Retrieval by label set against plain loops, scikit-learn and the limits."""

from collections import defaultdict

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from retdm.criteria import retrieval
from retdm.criteria.retrieval import evaluate_retrieval


def reference(
    query: np.ndarray, query_sets: np.ndarray, image: np.ndarray, image_sets: np.ndarray, own: np.ndarray
) -> tuple[list[float], list[float]]:
    """Precision at ten and average precision of the queries that have a relevant image, one image after the other."""
    precision, average = [], []
    for q in range(len(query)):
        others = [i for i in range(len(image)) if i != own[q]]
        distance = {i: sum((a - b) ** 2 for a, b in zip(query[q], image[i], strict=True)) ** 0.5 for i in others}
        relevant = {i for i in others if image_sets[i].tolist() == query_sets[q].tolist()}
        if not relevant:
            continue
        ties = defaultdict(list)
        for i in others:
            ties[distance[i]].append(i)
        left, hits = float(min(10, len(others))), 0.0
        for _, tied in sorted(ties.items()):
            taken = min(left, len(tied))
            hits += taken * sum(i in relevant for i in tied) / len(tied)
            left -= taken
        precision.append(hits / min(10, len(others)))
        truth = [i in relevant for i in others]
        average.append(average_precision_score(truth, [-distance[i] for i in others]))
    return precision, average


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spacing", ["apart", "tied"])
def test_equals_the_definition(seed: int, spacing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BLOCK", 7)
    g = np.random.default_rng(seed)
    n = (8, 40)[seed % 2]  # fewer than ten, and more
    image = g.integers(0, 3, (n, 2)) if spacing == "tied" else g.normal(size=(n, 2))
    sets = g.integers(0, 2, (n, 3))
    own = g.permutation(n)
    found = evaluate_retrieval(image[own], sets[own], image, sets, own)
    precision, average = reference(image[own], sets[own], image, sets, own)
    assert found["precision_at_10"] == pytest.approx(np.mean(precision), abs=1e-12)
    assert found["mAP"] == pytest.approx(np.mean(average), abs=1e-12)
    assert (found["queries"], found["without_relevant"]) == (len(precision), n - len(precision))


@pytest.mark.parametrize("seed", range(3))
def test_queries_of_their_own_find_every_image(seed: int) -> None:
    g = np.random.default_rng(seed)
    query, query_sets = g.normal(size=(5, 2)), g.integers(0, 2, (5, 3))
    image, sets = g.normal(size=(30, 2)), g.integers(0, 2, (30, 3))
    found = evaluate_retrieval(query, query_sets, image, sets)
    precision, average = reference(query, query_sets, image, sets, np.full(5, -1))
    assert found["precision_at_10"] == pytest.approx(np.mean(precision), abs=1e-12)
    assert found["mAP"] == pytest.approx(np.mean(average), abs=1e-12)


def test_worked_example() -> None:
    # Along a line: the query at 0; images at 1 (same set), 2 (one label more), 3 (same set).
    found = evaluate_retrieval([[0.0]], [[1, 0]], [[1.0], [2.0], [3.0]], [[1, 0], [1, 1], [1, 0]])
    assert found == {"precision_at_10": 2 / 3, "mAP": (1 + 2 / 3) / 2, "queries": 1, "without_relevant": 0}


def test_clusters_of_one_set_each_are_found_without_a_mistake() -> None:
    sets = np.repeat(np.eye(3, dtype=int), 12, axis=0)
    image = 100.0 * sets + np.random.default_rng(0).normal(size=sets.shape)
    found = evaluate_retrieval(image, sets, image, sets, np.arange(36))
    assert found == {"precision_at_10": 1.0, "mAP": 1.0, "queries": 36, "without_relevant": 0}


def test_without_a_relevant_image_nothing_is_defined() -> None:
    nothing = {"precision_at_10": None, "mAP": None, "queries": 0}
    for images in (2, 1, 0):
        found = evaluate_retrieval(np.zeros((1, 2)), [[1]], np.zeros((images, 2)), np.zeros((images, 1)))
        assert found == {**nothing, "without_relevant": 1}
    alone = evaluate_retrieval(np.zeros((1, 2)), [[1]], np.zeros((1, 2)), [[1]], [0])
    assert alone == {**nothing, "without_relevant": 1}
    assert evaluate_retrieval(np.zeros((0, 2)), np.zeros((0, 1)), np.zeros((3, 2)), np.zeros((3, 1)))["mAP"] is None


def test_a_shift_a_turn_and_a_scale_of_the_space_change_nothing() -> None:
    g = np.random.default_rng(0)
    image, sets, own = g.normal(size=(30, 3)), g.integers(0, 2, (30, 2)), np.arange(30)
    turn, _ = np.linalg.qr(g.normal(size=(3, 3)))
    moved = 7 * image @ turn + 5
    assert evaluate_retrieval(moved, sets, moved, sets, own) == evaluate_retrieval(image, sets, image, sets, own)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(Q, D\) and \(n, D\)"):
        evaluate_retrieval(np.zeros((1, 2)), [[1]], np.zeros((1, 3)), [[1]])
    with pytest.raises(ValueError, match="query_sets has shape"):
        evaluate_retrieval(np.zeros((1, 2)), [[1, 0]], np.zeros((1, 2)), [[1]])
    with pytest.raises(ValueError, match="image_sets must hold only 0 and 1"):
        evaluate_retrieval(np.zeros((1, 2)), [[1]], np.zeros((1, 2)), [[2]])
