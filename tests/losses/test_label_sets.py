"""The nearest label sets against a sort in plain Python, and their ties."""

import itertools
import math

import pytest
import torch
from two_way_reference import hidden, neighbours

from retdm.losses import nearest_label_sets
from retdm.losses.label_sets import expected_distance


def test_equal_label_sets_are_never_rivals() -> None:
    target = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    assert nearest_label_sets(target, 3).tolist() == [[3, -1, -1]] * 3 + [[0, -1, -1]]


def test_an_empty_label_set_is_a_set_like_any_other() -> None:
    target = torch.tensor([[0.0, 0], [0, 1], [1, 1]])
    assert nearest_label_sets(target, 2).tolist() == [[1, 2], [0, 2], [1, 0]]


def test_ties_go_by_frequency_then_by_the_text_of_the_set() -> None:
    own = torch.tensor([[1.0, 1, 0]])
    candidates = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    assert nearest_label_sets(own, 9, candidates=candidates).tolist() == [[3, 2, 1, 0, 5, -1]]
    frequency = torch.tensor([0, 7, 1, 1, 99, 50])
    assert nearest_label_sets(own, 9, candidates=candidates, frequency=frequency).tolist() == [[1, 3, 2, 0, 5, -1]]


def test_the_first_valid_row_stands_for_its_set() -> None:
    own, candidates = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1], [1, 1], [0, 1], [0, 1], [1, 0]])
    valid = torch.tensor([False, True, True, True, False])
    assert nearest_label_sets(own, 5, candidates=candidates, valid=valid).tolist() == [[2, 1, -1, -1, -1]]
    frequency = torch.tensor([9, 0, 0, 9, 9])  # of equal rows the first valid one's frequency counts
    found = nearest_label_sets(own, 2, candidates=candidates[[1, 2, 3, 4]], frequency=frequency[1:])
    assert found.tolist() == [[3, 1]]


@pytest.mark.parametrize("labels", [1, 3, 62, 63, 64, 80, 130])
def test_neighbours_equal_a_python_sort(labels: int) -> None:
    generator = torch.Generator().manual_seed(labels)
    # sets near each other, differing at either end, so that ties abound and every packed word decides some
    base = torch.rand(1, labels, generator=generator) > 0.5
    sets = base ^ (torch.rand(30, labels, generator=generator) < 2 / labels)
    sets[20:] = sets[:10]
    frequency, valid = torch.randint(3, (30,), generator=generator), torch.rand(30, generator=generator) > 0.2
    rows = [tuple(row) for row in sets.int().tolist()]
    for f, v in ((None, None), (frequency, valid)):
        found = nearest_label_sets(sets.float(), 12, frequency=f, valid=v)
        for row, own in enumerate(rows):
            near = neighbours(
                own, rows, 12, None if f is None else frequency.tolist(), None if v is None else valid.tolist()
            )
            assert found[row].tolist() == near + [-1] * (12 - len(near))


def test_distances_of_many_labels_are_exact_under_autocast() -> None:
    sets = torch.zeros(3, 600)
    sets[1, :514] = 1
    sets[2, :513] = 1
    with torch.autocast("cpu", dtype=torch.bfloat16):  # counts above 256 would round
        assert nearest_label_sets(sets, 1).tolist() == [[2], [2], [1]]


def test_shapes_that_do_not_fit_together_are_named() -> None:
    target = torch.ones(7, 4)
    with pytest.raises(ValueError, match=r"sets must be \(R, L\) and candidates \(S, L\), got \(7, 4\) and \(7, 3\)"):
        nearest_label_sets(target, 2, candidates=target[:, 1:])
    with pytest.raises(ValueError, match="k must be at least 1, got -1"):
        nearest_label_sets(target, -1)


# ---- labels that are unknown, whose probability stands in their place


def test_a_set_that_does_not_contradict_the_own_one_is_no_neighbour() -> None:
    own = torch.tensor([[1.0, 0.0, 0.25]])
    candidates = torch.tensor([[1, 0.5, 0.25], [0.5, 0.5, 1], [0.5, 0, 0], [0.5, 0.5, 0.25], [0.5, 1, 1], [0, 0.5, 0]])
    assert nearest_label_sets(own, 6, candidates=candidates).tolist() == [[5, 4, -1, -1, -1, -1]]


def test_the_same_set_is_known_in_the_same_labels() -> None:
    own = torch.tensor([[1.0, 0.0]])
    candidates = torch.tensor([[0, 0.5], [0, 0], [0, 0.5], [0, 0]])
    assert nearest_label_sets(own, 4, candidates=candidates).tolist() == [[1, 0, -1, -1]]


@pytest.mark.parametrize("labels", [2, 5, 63, 70])
def test_neighbours_with_unknown_labels_equal_a_python_sort(labels: int) -> None:
    generator = torch.Generator().manual_seed(labels)
    base = torch.rand(1, labels, generator=generator) > 0.7
    complete = (base ^ (torch.rand(40, labels, generator=generator) < 2 / labels)).double()
    complete[20:] = complete[:20]
    sets, known = hidden(complete, seed=labels)
    sets[~known] = 0.25  # of all labels alike, so that distances tie
    frequency, valid = torch.randint(3, (40,), generator=generator), torch.rand(40, generator=generator) > 0.2
    rows = [tuple(row) for row in sets.tolist()]
    found = nearest_label_sets(sets.float(), 12, frequency=frequency, valid=valid)
    for row, own in enumerate(rows):
        near = neighbours(own, rows, 12, frequency.tolist(), valid.tolist())
        assert found[row].tolist() == near + [-1] * (12 - len(near))


def test_the_expected_distance_is_the_mean_over_all_that_the_unknown_labels_can_be() -> None:
    """Over all 4³ values of the unknown labels of two rows, each as probable as its labels say."""
    one, other = (0.25, 1.0, 0.125, 0.0), (0.25, 0.5, 0.0, 1.0)
    expected = 0.0
    for values in itertools.product((0, 1), repeat=8):
        probability = math.prod(p if v else 1 - p for p, v in zip(one + other, values, strict=True))
        expected += probability * sum(a != b for a, b in zip(values[:4], values[4:], strict=True))
    found = expected_distance(torch.tensor([one]), torch.tensor([other]))
    assert found.item() / 128**2 == expected


def test_the_expected_distance_of_any_probabilities_is_nearly_that_of_the_formula() -> None:
    a, b = torch.rand(2, 6, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = (a[:, None] * (1 - b) + b * (1 - a[:, None])).sum(2)
    assert torch.allclose(expected_distance(a, b).double() / 128**2, expected, rtol=0, atol=40 / 128)
