import math
from typing import Any

import pytest
import torch
from gradients import gradient
from torch import Tensor

from retdm.losses import asymmetric_loss, binary_cross_entropy

LOGITS = torch.tensor([[2.0, -1.0, 0.5, -4.0]])
TARGET = torch.tensor([[1, 0, 1, 0]])
PLAIN: dict[str, Any] = {"gamma_positive": 0.0, "gamma_negative": 0.0, "clip": 0.0}


def options(negative: float, positive: float, clip: float) -> dict[str, Any]:
    return {"gamma_negative": negative, "gamma_positive": positive, "clip": clip}


def cell(logit: float, positive: bool, gamma_negative: float, gamma_positive: float, clip: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    if positive:
        return -math.pow(1 - p, gamma_positive) * math.log(p)
    shifted = max(p - clip, 0.0)
    return -math.pow(shifted, gamma_negative) * math.log(1 - shifted)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(7, 5, generator=generator, dtype=torch.float64)
    target = (torch.rand(7, 5, generator=generator) > 0.5).double()
    known = torch.rand(7, 5, generator=generator) > 0.2
    target[0], target[1], known[2] = 0, 1, False
    return logits, target.masked_fill(~known, torch.nan), known


@pytest.mark.parametrize(
    ("numbers", "cells"),
    [
        ((4, 1, 0.05), [0.015130, 0.000568, 0.178983, 0.0]),
        ((4, 0, 0.05), 0.601573),
        ((0, 0, 0.0), 0.932417),
    ],
)
def test_worked_example(numbers: tuple[float, float, float], cells: list[float] | float) -> None:
    total = sum(cells) if isinstance(cells, list) else cells
    loss = asymmetric_loss(LOGITS, TARGET, reduction="sum", **options(*numbers))
    assert loss.item() == pytest.approx(total, abs=2e-6)
    for c, value in enumerate(cells if isinstance(cells, list) else []):
        one = asymmetric_loss(LOGITS[:, c : c + 1], TARGET[:, c : c + 1], **options(*numbers))
        assert one.item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("numbers", [(4, 1, 0.05), (2, 0, 0.2), (0, 3, 0.0), (0, 0, 0.1), (0.5, 0.5, 0.05), (4, 1, 0)])
def test_equals_the_loop_over_known_cells(numbers: tuple[float, float, float]) -> None:
    logits, target, known = batch()
    cells = [
        cell(logits[i, c].item(), bool(target[i, c] == 1), *numbers) for i in range(7) for c in range(5) if known[i, c]
    ]
    reductions: Any = (("mean", 1), ("sum", 5))
    for reduction, factor in reductions:
        given = logits.masked_fill(~known, torch.nan)
        loss = asymmetric_loss(given, target, known, reduction=reduction, **options(*numbers))
        assert loss.item() == pytest.approx(factor * sum(cells) / len(cells), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_without_focus_and_clip_it_is_exactly_binary_cross_entropy(reduction: Any, dtype: torch.dtype) -> None:
    logits, target, known = batch()
    logits = torch.cat([logits, torch.tensor([[800.0, -800, 800, -800, 0]])]).to(dtype)
    target = torch.cat([target, torch.tensor([[0.0, 1, 1, 0, 1]])])
    known = torch.cat([known, torch.ones(1, 5, dtype=torch.bool)])
    for arguments in ((target, known), (target.nan_to_num(0), None)):
        one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        loss = asymmetric_loss(one, *arguments, reduction=reduction, **PLAIN)
        expected = binary_cross_entropy(other, *arguments, reduction=reduction)
        loss.backward()
        expected.backward()
        assert loss.item() == expected.item() and torch.equal(gradient(one), gradient(other))


@pytest.mark.parametrize("numbers", [(4, 1, 0.05), (0.5, 0.5, 0.05), (2, 2, 0), (0, 0, 0.1)])
def test_gradient_in_float64(numbers: tuple[float, float, float]) -> None:
    logits, target, known = batch()
    assert torch.autograd.gradcheck(
        lambda z: asymmetric_loss(z, target, known, **options(*numbers)), logits.requires_grad_()
    )


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_a_detached_weight_changes_the_gradient_but_not_the_value(clip: float) -> None:
    free, held = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    one = asymmetric_loss(free, TARGET, reduction="sum", **options(4, 1, clip))
    other = asymmetric_loss(held, TARGET, detach=True, reduction="sum", **options(4, 1, clip))
    one.backward()
    other.backward()
    assert one.item() == other.item()
    p = LOGITS[0].sigmoid().tolist()
    assert gradient(held)[0, 0].item() == pytest.approx(-((1 - p[0]) ** 2))  # weight times the gradient of -log p
    shifted = p[1] - clip
    assert gradient(held)[0, 1].item() == pytest.approx(shifted**4 * p[1] * (1 - p[1]) / (1 - shifted))
    assert (gradient(free)[0, :3].abs() > 1.1 * gradient(held)[0, :3].abs()).all()


def test_a_negative_below_the_clip_has_neither_loss_nor_gradient() -> None:
    for gamma in (0.0, 0.5, 4.0):
        logits = torch.tensor([[-4.0, -800.0]], requires_grad=True)
        loss = asymmetric_loss(logits, torch.zeros(1, 2), gamma_negative=gamma)
        loss.backward()
        assert loss.item() == 0 and not gradient(logits).any()


def test_a_negative_on_the_clip_has_neither_loss_nor_gradient() -> None:
    logits = torch.zeros(1, 1, requires_grad=True)
    loss = asymmetric_loss(logits, torch.zeros(1, 1), gamma_negative=0.5, clip=0.5)
    loss.backward()
    assert loss.item() == 0 and gradient(logits).item() == 0


@pytest.mark.parametrize("numbers", [(4, 1, 0.05), (4, 0, 0.05), (0.5, 0.5, 0.0), (0.5, 0.5, 1e-9), (2, 2, 0)])
def test_extreme_logits_are_finite(numbers: tuple[float, float, float]) -> None:
    logits = torch.tensor([[800.0, -800.0, 800.0, -800.0]], requires_grad=True)
    loss = asymmetric_loss(logits, torch.tensor([[1, 1, 0, 0]]), **options(*numbers))
    loss.backward()
    assert loss.item() >= 200 and loss.isfinite() and gradient(logits).isfinite().all()


def test_no_known_cell_gives_zero_with_a_graph() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = asymmetric_loss(logits, TARGET, torch.zeros(1, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and not gradient(logits).any()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="'mean' or 'sum', got 'none'"):
        asymmetric_loss(LOGITS, TARGET, reduction="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"clip must be in \[0, 1\), got 1"):
        asymmetric_loss(LOGITS, TARGET, clip=1)
    with pytest.raises(ValueError, match="gamma_negative must be at least 0, got -1"):
        asymmetric_loss(LOGITS, TARGET, gamma_negative=-1)
    with pytest.raises(ValueError, match="gamma_positive must be at least 0, got nan"):
        asymmetric_loss(LOGITS, TARGET, gamma_positive=math.nan)
