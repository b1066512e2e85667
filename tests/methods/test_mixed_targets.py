"""What takes the targets of mixed images is linear in them: a mixture costs what lies between its parts."""

import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from deep_methods import METHODS, class_of, ready

import retdm.losses
from retdm.batch import Batch
from retdm.methods.components.chosen_loss import ChosenLoss, _function

LOSSES = [each.name for each in pkgutil.iter_modules(retdm.losses.__path__) if _function(each.name)]


def targets(rows: int, labels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two label sets a row, their mixture in a share a row of the first, and the known cells."""
    generator = torch.Generator().manual_seed(0)
    known = torch.rand(rows, labels, generator=generator) < 0.8
    one, other = (torch.randint(0, 2, (rows, labels), generator=generator).double() * known for _ in range(2))
    return one, other, 0.3 * one + 0.7 * other, known


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_says_so_is_linear_in_the_targets_and_the_others_are_not(name: str) -> None:
    loss, logits = ChosenLoss(name), torch.randn(9, 4, generator=torch.Generator().manual_seed(1)).double()
    one, other, mixture, known = targets(9, 4)
    given = {
        **{"index": torch.arange(9), "seed": 0, "rows": 9, "epoch": 0, "total": 9},
        **{"positives": torch.tensor([3, 1, 2, 5]), "negatives": torch.tensor([6, 8, 7, 4])},
        "pos_weight": torch.tensor([2.0, 8, 3.5, 1]),
    }

    def cost(target: torch.Tensor) -> torch.Tensor:
        return loss(logits, Batch(torch.arange(9), torch.zeros(9, 3, 1, 1), target, known), given)

    linear = torch.allclose(cost(mixture), 0.3 * cost(one) + 0.7 * cost(other))
    assert linear == loss.takes_mixed_targets


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_says_so_is_linear_in_the_targets(name: str, tiny: Callable[..., Any]) -> None:
    settings = tiny(f"method={name}")
    if not class_of(name).takes_mixed_targets(settings.method):
        assert name != "bce"
        return
    assert name not in {"retdm", "c2ae", "center", "cnn_rnn", "asl", "cnn_warp"}  # of whole label sets
    method, batch = ready(settings)
    method.eval()
    one, other, mixture, known = targets(*batch.target.shape)

    def cost(target: torch.Tensor) -> torch.Tensor:
        return method.total(method.losses(batch._replace(target=target.float(), known=known)))

    assert torch.allclose(cost(mixture), 0.3 * cost(one) + 0.7 * cost(other), rtol=1e-5)
