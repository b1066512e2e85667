"""Who is a rival in the metric loss, who is none, and which image stands for a rival set."""

import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from gradients import gradient
from torch import Tensor
from two_way_reference import batch, definition, hidden

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
def test_rows_that_are_not_valid_are_neither_anchors_nor_rivals(rival_image: str, seeds: int) -> None:
    image, label, target = batch()
    image.requires_grad_()
    valid = torch.tensor([True, False, True, True, False, True, True])
    gaps = target.clone()
    gaps[1], gaps[4] = torch.nan, target[5]  # what stands in an unknown cell is not read, be it another row's set
    for seed in range(seeds):
        options: dict[str, Any] = {"k": 5, "rival_image": rival_image, "seed": seed}
        expected = definition(image, label, target, usable=valid.tolist(), **options)
        terms = two_way_terms(image, label, gaps, valid=valid, **options)
        assert [terms.way1.item(), terms.way2.item()] == pytest.approx(expected["loss"], abs=1e-12)
        (slope,) = torch.autograd.grad(terms.way1 + terms.way2, image)
        assert not slope[~valid].any() and slope[valid].abs().sum(1).min() > 0
    own = [math.dist(f, g) for f, g, v in zip(image.tolist(), label.tolist(), valid, strict=True) if v]
    assert terms.own_distance.item() == pytest.approx(sum(own) / 5)


def test_no_valid_row_gives_zero_with_a_graph() -> None:
    assert_zero_with_a_graph(torch.eye(3), valid=torch.zeros(3, dtype=torch.bool))


def test_rows_that_are_not_valid_are_no_anchors_in_the_train_pool() -> None:
    image, label, target = batch()
    valid = torch.arange(7) != 0
    pool: dict[str, Any] = {"k": 2, "sets": target, "set_embedding": label}
    terms = two_way_terms(image, label, target, valid=valid, **pool)
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


# ---- labels that are unknown


def with_unknown_labels() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A batch, its targets with probabilities where unknown, and the rows of which enough is known."""
    image, _, target = batch(size=12, labels=5, seed=2)
    target, known = hidden(target)
    label = torch.tanh(target @ torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=target.dtype))
    return image, label, target, known.sum(1) >= 3


@pytest.mark.parametrize(("rival_image", "seeds"), [("first", 1), ("random", 8)])
def test_sets_with_unknown_labels_equal_the_definition(rival_image: str, seeds: int) -> None:
    image, label, target, valid = with_unknown_labels()
    assert 0 < (~valid).sum() < 12
    for seed in range(seeds):
        options: dict[str, Any] = {"k": 4, "rival_image": rival_image, "seed": seed}
        expected = definition(image, label, target, usable=valid.tolist(), **options)
        terms = two_way_terms(image, label, target, valid=valid, **options)
        assert [terms.way1.item(), terms.way2.item()] == pytest.approx(expected["loss"], abs=1e-12)
        assert min(expected["loss"]) > 0


def test_the_gradient_of_sets_with_unknown_labels_in_float64() -> None:
    image, label, target, valid = with_unknown_labels()

    def loss(image: Tensor, label: Tensor, embedding: Tensor) -> Tensor:
        ways = two_way_terms(image, label, target, k=3, valid=valid, sets=target, set_embedding=embedding)
        return ways.way1 + ways.way2

    embedding = label.clone()
    assert torch.autograd.gradcheck(loss, [x.requires_grad_() for x in (image, label, embedding)])


def test_a_train_pool_of_the_batchs_sets_with_unknown_labels_equals_the_batch() -> None:
    image, label, target, valid = with_unknown_labels()
    pool: dict[str, Any] = {"sets": target[valid], "set_embedding": label[valid]}
    terms = two_way_terms(image, label, target, k=3, valid=valid, **pool)
    assert torch.stack(terms).tolist() == torch.stack(two_way_terms(image, label, target, k=3, valid=valid)).tolist()


def test_rows_of_which_only_positives_or_nothing_is_known_give_zero_with_a_graph() -> None:
    assert_zero_with_a_graph(torch.eye(4).clamp(min=0.25))
    assert_zero_with_a_graph(torch.full((4, 3), 0.5))


def test_of_one_label_what_is_unknown_is_no_rival() -> None:
    image, label, _ = batch(size=3, labels=1)
    terms = two_way_terms(image, label, torch.tensor([[1.0], [0.0], [0.5]]), k=2)
    expected = two_way_terms(image[:2], label[:2], torch.tensor([[1.0], [0.0]]), k=2)
    assert terms.way1.item() == expected.way1.item() > 0
