import math

import pytest
import torch
from gradients import gradient
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from retdm.losses import binary_cross_entropy, focal_loss


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(7, 5, generator=generator, dtype=torch.float64)
    target = (torch.rand(7, 5, generator=generator) > 0.5).double()
    known = torch.rand(7, 5, generator=generator) > 0.2
    known[2] = False
    return logits, target.masked_fill(~known, torch.nan), known


@pytest.mark.parametrize(("gamma", "alpha"), [(2, 0.25), (0.5, None), (0, 0.9)])
def test_equals_the_loop_over_known_cells(gamma: float, alpha: float | None) -> None:
    logits, target, known = batch()
    cells = []
    for i, j in known.nonzero().tolist():
        p = 1 / (1 + math.exp(-logits[i, j].item()))
        right, share = (p, alpha) if target[i, j] == 1 else (1 - p, None if alpha is None else 1 - alpha)
        cells.append(-(1 if share is None else share) * math.pow(1 - right, gamma) * math.log(right))
    loss = focal_loss(logits.masked_fill(~known, torch.nan), target, known, gamma=gamma, alpha=alpha)
    assert loss.item() == pytest.approx(sum(cells) / len(cells), abs=1e-12)


def test_its_defaults_are_those_of_torchvision() -> None:
    logits, target, _ = batch()
    target = target.nan_to_num(0)
    torch.testing.assert_close(focal_loss(logits, target), sigmoid_focal_loss(logits, target, reduction="mean"))


def test_without_focus_it_is_exactly_binary_cross_entropy() -> None:
    logits, target, known = batch()
    one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, expected = focal_loss(one, target, known, gamma=0, alpha=None), binary_cross_entropy(other, target, known)
    loss.backward()
    expected.backward()
    assert loss.item() == expected.item() and torch.equal(gradient(one), gradient(other))


def test_gradient_in_float64() -> None:
    logits, target, known = batch()
    assert torch.autograd.gradcheck(lambda z: focal_loss(z, target, known), logits.requires_grad_())


def test_extreme_logits_are_finite() -> None:
    logits = torch.tensor([[800.0, -800.0, 800.0, -800.0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([[1, 1, 0, 0]]), gamma=0.5)
    loss.backward()
    assert loss.item() == pytest.approx(0.25 * 800 * 1 / 4 + 0.75 * 800 / 4) and gradient(logits).isfinite().all()


def test_no_known_cell_gives_zero_with_a_graph() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    loss = focal_loss(logits, torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and not gradient(logits).any()


def test_wrong_numbers_are_named() -> None:
    with pytest.raises(ValueError, match="gamma must be at least 0, got -1"):
        focal_loss(torch.zeros(1, 1), torch.zeros(1, 1), gamma=-1)
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got 2"):
        focal_loss(torch.zeros(1, 1), torch.zeros(1, 1), alpha=2)
