"""The metric loss against its definition as loops over floats, then every limit."""

import math
from typing import Any

import pytest
import torch
from gradients import gradient
from torch import Tensor
from two_way_reference import batch, definition

from retdm.losses import two_way_metric, two_way_terms

# ---- the value


@pytest.mark.parametrize("rival_image", ["first", "random"])
@pytest.mark.parametrize(("unit", "temperature"), [(1.0, 1.0), (2.5, 0.2)])
@pytest.mark.parametrize("violation", [0.0, 1.0, 0.7])
@pytest.mark.parametrize("k", [1, 2, 5, 9])  # 9 exceeds the batch
def test_equals_the_definition(k: int, violation: float, unit: float, temperature: float, rival_image: str) -> None:
    image, label, target = batch()
    options: dict[str, Any] = {"k": k, "violation": violation, "rival_image": rival_image, "seed": 5}
    expected = definition(image, label, target, scale=unit * temperature, **options)
    terms = two_way_terms(image, label, target, unit=unit, temperature=temperature, **options)
    assert [terms.way1.item(), terms.way2.item()] == pytest.approx(expected["loss"], abs=1e-12)
    assert [terms.nll1.item(), terms.nll2.item()] == pytest.approx(expected["nll"], abs=1e-12)
    for mu in (0.0, 1.0, 0.3):
        value = two_way_metric(image, label, target, mu=mu, unit=unit, temperature=temperature, **options)
        assert value.item() == pytest.approx(expected["loss"][0] + mu * expected["loss"][1], abs=1e-12)


R1 = (
    torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]),
    torch.tensor([[1.0, 0.0], [3.0, 1.0], [0.0, 2.0]]),
    torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]]),
)


def test_worked_example_of_three_images() -> None:
    assert two_way_metric(*R1, k=1, violation=0.0).item() == pytest.approx(0.550172, abs=1e-6)
    terms = two_way_terms(*R1, k=2, violation=0.0)
    assert terms.way1.item() == pytest.approx((0.394028 + 0.365852 + 0.203624) / 3, abs=1e-6)
    assert terms.way2.item() == pytest.approx((0.344936 + 0.143341 + 0.788811) / 3, abs=1e-6)


def test_worked_example_of_a_violated_row() -> None:
    image, label, target = torch.tensor([[0.0]]), torch.tensor([[2.0]]), torch.tensor([[1.0, 0.0]])
    sets, embedding = torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0], [3.0]])
    terms = two_way_terms(image, label, target, sets=sets, set_embedding=embedding)
    assert terms.nll1.item() == pytest.approx(1.407606, abs=1e-6)
    assert terms.way1.item() == pytest.approx(1.407606 + 0.5, abs=1e-6)
    assert terms.way2.item() == 0  # the only image has no other to be compared with


def test_diagnostics_are_the_own_distance_and_the_value_of_chance() -> None:
    terms = two_way_terms(*R1, k=2, unit=torch.tensor(4.0))
    assert terms.own_distance.item() == pytest.approx((1 + 1 + 2) / 3 / 4)
    assert terms.chance1.item() == terms.chance2.item() == pytest.approx(math.log(3))
    zero = torch.zeros(3, 2)
    collapsed = two_way_terms(zero, zero, R1[2], k=2)
    assert collapsed.nll1.item() == pytest.approx(collapsed.chance1.item())
    assert collapsed.nll2.item() == pytest.approx(collapsed.chance2.item())


def test_chance_counts_the_rivals_each_anchor_has() -> None:
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    terms = two_way_terms(torch.randn(3, 2), torch.randn(3, 2), target, k=10)
    assert terms.chance1.item() == pytest.approx(math.log(2))


# ---- the gradient


@pytest.mark.parametrize("rival_image", ["first", "random"])
def test_gradient_in_float64(rival_image: str) -> None:
    image, label, target = batch()

    def loss(image: Tensor, label: Tensor) -> Tensor:
        return two_way_metric(image, label, target, k=3, mu=0.7, unit=1.3, temperature=0.5, rival_image=rival_image)

    assert torch.autograd.gradcheck(loss, (image.requires_grad_(), label.requires_grad_()))


def test_gradient_of_the_train_pool_in_float64() -> None:
    image, label, target = batch()
    sets, embedding = batch(size=9, seed=3)[2], batch(size=9, seed=4)[0]

    def loss(image: Tensor, label: Tensor, embedding: Tensor) -> Tensor:
        return two_way_metric(image, label, target, k=3, sets=sets, set_embedding=embedding)

    assert torch.autograd.gradcheck(loss, [x.requires_grad_() for x in (image, label, embedding)])


def test_the_unit_is_never_differentiated() -> None:
    image, label, target = batch()
    unit = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    loss = two_way_metric(image.requires_grad_(), label, target, unit=unit)
    loss.backward()
    assert unit.grad is None
    assert loss.item() == two_way_metric(image, label, target, unit=2.0).item()


def test_coinciding_embeddings_have_finite_gradients() -> None:
    target = torch.eye(4)
    image, label = torch.ones(4, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    loss = two_way_metric(image, label, target, k=2)
    loss.backward()
    assert loss.item() == pytest.approx(2 * math.log(3))
    assert gradient(image).isfinite().all() and gradient(label).isfinite().all()


def test_nearly_coinciding_embeddings_far_from_the_origin_keep_their_distances() -> None:
    image, label = 1000 + torch.rand(2, 40, 8, generator=torch.Generator().manual_seed(0))
    expected = sum(math.dist(f, g) for f, g in zip(image.tolist(), label.tolist(), strict=True)) / 40
    assert two_way_terms(image, label, torch.eye(40), k=1).own_distance.item() == pytest.approx(expected, rel=1e-6)


# ---- what changes nothing


def test_the_order_of_rows_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    target = torch.tensor([[(number >> bit) & 1 for bit in range(5)] for number in range(0, 27, 3)]).double()
    image, label = torch.randn(2, 9, 4, generator=generator, dtype=torch.float64)
    order = torch.randperm(9, generator=generator)
    options: dict[str, Any] = {"k": 3, "rival_image": "first", "mu": 0.6}
    shuffled = two_way_metric(image[order], label[order], target[order], **options)
    assert shuffled.item() == pytest.approx(two_way_metric(image, label, target, **options).item(), abs=1e-12)


def test_a_shift_and_a_turn_of_the_space_change_nothing() -> None:
    image, label, target = batch()
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    shift = torch.tensor([1.0, -20.0, 3.0], dtype=torch.float64)
    moved = two_way_metric(image @ turn + shift, label @ turn + shift, target, k=3)
    assert moved.item() == pytest.approx(two_way_metric(image, label, target, k=3).item(), abs=1e-12)


def test_the_unit_undoes_a_scaling_of_the_space() -> None:
    image, label, target = batch()
    scaled = two_way_metric(8 * image, 8 * label, target, k=3, unit=8.0)
    assert scaled.item() == pytest.approx(two_way_metric(image, label, target, k=3).item(), abs=1e-12)


def test_a_train_pool_of_the_batch_equals_the_batch() -> None:
    image, label, target = batch()
    frequency = torch.tensor([3, 1, 4, 1, 5, 1, 1])
    expected = two_way_terms(image, label, target, k=3, frequency=frequency)
    terms = two_way_terms(
        image, label, target, k=3, frequency=frequency, sets=target, set_embedding=label, set_frequency=frequency
    )
    assert torch.stack(terms).tolist() == torch.stack(expected).tolist()


def test_a_larger_train_pool_brings_nearer_rivals_to_way_one_only() -> None:
    image, label, target = torch.tensor([[0.0], [9.0]]), torch.tensor([[1.0], [9.0]]), torch.tensor([[1.0, 0], [0, 1]])
    sets, embedding = torch.tensor([[0.0, 1], [0, 0]]), torch.tensor([[9.0], [2.0]])
    terms = two_way_terms(image, label, target, k=1, violation=0, sets=sets, set_embedding=embedding)
    rows = [math.log(1 + math.exp(1.0 - 2.0)), math.log(1 + math.exp(0.0 - 7.0))]  # both nearest to the empty set
    assert terms.way1.item() == pytest.approx(sum(rows) / 2)
    assert terms.way2.item() == pytest.approx(two_way_terms(image, label, target, k=1, violation=0).way2.item())


def test_the_frequency_of_a_pool_set_decides_its_ties() -> None:
    image, label, target = torch.tensor([[0.0]]), torch.tensor([[1.0]]), torch.tensor([[1.0, 0.0]])
    pool: dict[str, Any] = {
        "sets": torch.tensor([[0.0, 0.0], [1.0, 1.0]]),
        "set_embedding": torch.tensor([[2.0], [4.0]]),
    }
    for frequency, rival in (([2, 1], 2.0), ([1, 2], 4.0)):
        terms = two_way_terms(image, label, target, k=1, set_frequency=torch.tensor(frequency), **pool)
        assert terms.nll1.item() == pytest.approx(math.log(1 + math.exp(1.0 - rival)))


# ---- precision


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    image, label, target = batch()
    image, label = image.to(dtype).requires_grad_(), label.to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = two_way_metric(image, label, target, k=3)
    loss.backward()
    assert loss.dtype == torch.float32 and gradient(image).dtype == dtype
    assert loss.item() == pytest.approx(two_way_metric(image.float(), label.float(), target, k=3).item(), rel=1e-6)


def test_float64_stays_float64() -> None:
    assert two_way_metric(*batch()).dtype == torch.float64


def test_large_distances_neither_overflow_nor_vanish() -> None:
    image = torch.tensor([[0.0], [1e4]], requires_grad=True)
    loss = two_way_metric(image, torch.tensor([[1e4], [0.0]]), torch.eye(2), k=1, violation=0)
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert gradient(image).flatten().tolist() == pytest.approx([-1.0, 1.0])


# ---- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"temperature": math.nan}, "temperature must be above 0, got nan"),
        ({"unit": 0.0}, "unit must be above 0"),
        ({"unit": torch.ones(2)}, r"a \(\) tensor"),
        ({"violation": -1.0}, "violation must be at least 0, got -1.0"),
        ({"rival_image": "last"}, "'random' or 'first', got 'last'"),
        ({"valid": torch.ones(3, dtype=torch.bool)}, r"valid must be bool \(7,\)"),
        ({"valid": torch.ones(7)}, "valid must be bool"),
        ({"frequency": torch.ones(3)}, r"frequency must be \(7,\), one for each candidate, got \(3,\)"),
        ({"sets": torch.ones(2, 4)}, "go together"),
        (
            {"sets": torch.ones(2, 4), "set_embedding": torch.ones(3, 3)},
            r"\(S, L\), \(S, D\), got \[\(2, 4\), \(3, 3\)",
        ),
    ],
)
def test_a_wrong_argument_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        two_way_terms(*batch(), **options)


def test_shapes_that_do_not_agree_are_named() -> None:
    image, label, target = batch()
    with pytest.raises(ValueError, match=r"one shape \(B, D\), B > 0, got \[\(7, 3\), \(6, 3\)\]"):
        two_way_terms(image, label[1:], target)
    with pytest.raises(ValueError, match=r"target must be \(7, L\), got \[\(6, 4\)\]"):
        two_way_terms(image, label, target[1:])
    with pytest.raises(ValueError, match="B > 0"):
        two_way_terms(image[:0], label[:0], target[:0])
