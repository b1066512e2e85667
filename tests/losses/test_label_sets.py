"""The nearest label sets against a sort in plain Python, and their ties."""

import pytest
import torch
from two_way_reference import neighbours

from retdm.losses import nearest_label_sets


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
