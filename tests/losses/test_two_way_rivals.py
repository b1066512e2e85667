"""Who is a rival in the metric loss, who is none, and which image stands for a rival set."""

import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from gradients import gradient
from torch import Tensor
from two_way_reference import batch, definition

from retdm.losses import two_way_terms


def test_identical_label_sets_everywhere_give_zero_with_a_graph() -> None:
    assert_zero_with_a_graph(torch.ones(5, 3))


def test_a_single_row_gives_zero_with_a_graph() -> None:
    assert_zero_with_a_graph(torch.ones(1, 3))


def assert_zero_with_a_graph(target: Tensor, **options: Any) -> None:
    image = torch.randn(len(target), 2, requires_grad=True)
    label = torch.randn(len(target), 2, requires_grad=True)
    terms = two_way_terms(image, label, target, **options)
    (terms.way1 + terms.way2).backward()
    assert terms.way1.item() == terms.way2.item() == 0
    assert not gradient(image).any() and not gradient(label).any()
    assert [float(value) for value in terms[3:]] == [0, 0, 0, 0]


def test_rows_without_a_rival_leave_the_mean() -> None:
    """In the train pool a row can be alone: rivals are the pool's, and the pool holds one set."""
    image, label = torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0], [7.0]])
    terms = two_way_terms(
        image, label, torch.eye(2), sets=torch.tensor([[1.0, 0.0]]), set_embedding=torch.tensor([[1.0]]), violation=0
    )
    assert terms.way1.item() == pytest.approx(math.log(1 + math.exp(2.0 - 4.0)))


@pytest.mark.parametrize(("rival_image", "seeds"), [("first", 1), ("random", 8)])
def test_incomplete_rows_are_neither_anchors_nor_rivals(rival_image: str, seeds: int) -> None:
    image, label, target = batch()
    image.requires_grad_()
    complete = torch.tensor([True, False, True, True, False, True, True])
    gaps = target.clone()
    gaps[1], gaps[4] = torch.nan, target[5]  # what stands in an unknown cell is not read, be it another row's set
    for seed in range(seeds):
        options: dict[str, Any] = {"k": 5, "rival_image": rival_image, "seed": seed}
        expected = definition(image, label, target, usable=complete.tolist(), **options)
        terms = two_way_terms(image, label, gaps, complete=complete, **options)
        assert [terms.way1.item(), terms.way2.item()] == pytest.approx(expected["loss"], abs=1e-12)
        (slope,) = torch.autograd.grad(terms.way1 + terms.way2, image)
        assert not slope[~complete].any() and slope[complete].abs().sum(1).min() > 0
    own = [math.dist(f, g) for f, g, c in zip(image.tolist(), label.tolist(), complete, strict=True) if c]
    assert terms.own_distance.item() == pytest.approx(sum(own) / 5)


def test_no_complete_row_gives_zero_with_a_graph() -> None:
    assert_zero_with_a_graph(torch.eye(3), complete=torch.zeros(3, dtype=torch.bool))


def test_incomplete_rows_are_no_anchors_in_the_train_pool() -> None:
    image, label, target = batch()
    complete = torch.arange(7) != 0
    pool: dict[str, Any] = {"k": 2, "sets": target, "set_embedding": label}
    terms = two_way_terms(image, label, target, complete=complete, **pool)
    expected = two_way_terms(image[1:], label[1:], target[1:], **pool)
    assert terms.way1.item() == pytest.approx(expected.way1.item(), abs=1e-12)


def test_one_label_makes_two_sets_that_rival_each_other() -> None:
    image, label, target = batch(labels=1)
    expected = definition(image, label, target, 10)
    terms = two_way_terms(image, label, target, rival_image="first")
    assert terms.way1.item() > 0
    assert [terms.way1.item(), terms.way2.item()] == pytest.approx(expected["loss"], abs=1e-12)


def drawn_values(seeds: Iterable[int]) -> list[float]:
    """Way 2 of one pair of sets, three images carrying the second: every draw has its own value."""
    image = torch.tensor([[0.0], [1.0], [2.0], [4.0]], dtype=torch.float64)
    label = torch.tensor([[0.5], [3.0], [3.0], [3.0]], dtype=torch.float64)
    target = torch.tensor([[1.0, 0], [0, 1], [0, 1], [0, 1]])
    return [round(two_way_terms(image, label, target, k=1, violation=0, seed=s).way2.item(), 9) for s in seeds]


def test_random_rivals_are_a_function_of_the_seed() -> None:
    assert drawn_values([3, 3, 11]) == drawn_values([3, 3, 11])
    assert len(set(drawn_values(range(20)))) > 1


def test_every_image_of_a_rival_set_is_drawn_about_equally_often() -> None:
    # The rival of rows 1-3 is image 0 alone; that of row 0 one of images 1-3, at 0.5, 1.5 and 3.5 from its label set.
    fixed = [(2.0, 3.0), (1.0, 3.0), (1.0, 3.0)]
    possible = []
    for rival in (0.5, 1.5, 3.5):
        rows = [*fixed, (0.5, rival)]
        possible.append(round(sum(math.log(1 + math.exp(own - other)) for own, other in rows) / 4, 9))
    values = drawn_values(range(300))
    assert set(values) == set(possible)
    assert all(60 < values.count(value) < 140 for value in possible)


def test_anchors_draw_apart() -> None:
    """Rows 0 and 1 share their only rival set, of two images: both draw one, both the other, or one each."""
    target = torch.tensor([[1.0, 0], [1, 0], [1, 1], [1, 1]])
    image, label = torch.tensor([[0.0], [0.0], [1.0], [2.0]]), torch.tensor([[-1.0], [-1.0], [9.0], [9.0]])
    values = [two_way_terms(image, label, target, k=1, violation=0, seed=seed).way2.item() for seed in range(40)]
    assert len({round(value, 5) for value in values}) == 3


def test_the_first_image_of_a_rival_set_is_the_first_row() -> None:
    image, label, target = batch()
    expected = definition(image, label, target, 4, rival_image="first")["loss"][1]
    for seed in (0, 1):
        terms = two_way_terms(image, label, target, k=4, rival_image="first", seed=seed)
        assert terms.way2.item() == pytest.approx(expected, abs=1e-12)
