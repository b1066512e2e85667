from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from retdm.batch import Batch
from retdm.methods.networks.cnn_warp import CNNWARP
from retdm.runs.build import build_method
from retdm.runs.settings import RunSettings

LABELS = [str(label) for label in range(20)]


@pytest.fixture
def loss(tiny: Callable[..., RunSettings], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tensor]:
    """``loss(seed, step, training)`` of one batch and the same weights."""
    method = build_method(tiny("method=cnn_warp"), LABELS)
    assert isinstance(method, CNNWARP)
    draw = torch.Generator().manual_seed(0)
    target = (torch.rand(12, 20, generator=draw) < 0.2).float()
    batch = Batch(torch.arange(12), torch.randn(12, 3, 16, 16, generator=draw), target, target >= 0)

    def of(seed: int, step: int, training: bool = True, rows: Any = slice(None)) -> Tensor:
        method.seed = seed
        monkeypatch.setattr(CNNWARP, "global_step", step, raising=False)
        method.train(training)
        return method.losses(Batch(*(column[rows] for column in batch)))["classification"]

    return of


def test_what_a_step_samples_is_a_function_of_seed_and_step(loss: Callable[..., Tensor]) -> None:
    assert torch.equal(loss(0, 3), loss(0, 3))
    assert len({loss(seed, step).item() for seed in (0, 1) for step in (3, 4)}) == 4


def test_what_is_sampled_for_an_image_does_not_depend_on_its_place_in_the_batch(loss: Callable[..., Tensor]) -> None:
    whole, halves = loss(0, 3), [loss(0, 3, rows=rows) for rows in (slice(6), slice(6, 12))]
    torch.testing.assert_close(whole, sum(halves) / 2)
    torch.testing.assert_close(whole, loss(0, 3, rows=torch.randperm(12)))


def test_validation_samples_the_same_at_every_step(loss: Callable[..., Tensor]) -> None:
    assert torch.equal(loss(0, 3, training=False), loss(0, 4, training=False))
