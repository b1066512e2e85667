"""The moving average of the weights, against a plain loop over the weights of every step."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from retdm.commands.train import train
from retdm.runs.folder.paths import RunFolder
from retdm.settings.compose import compose_settings
from retdm.settings.run_settings import RunSettings
from retdm.training.checkpoints import Checkpoints

Tiny = Callable[..., RunSettings]
Weights = dict[str, torch.Tensor]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Weights]:
    """The weights after every step of the next run."""
    found: list[Weights] = []
    original = Checkpoints.on_train_batch_end

    def hook(self: Checkpoints, trainer: Any, module: Any, *rest: Any) -> None:
        found.append({name: parameter.detach().clone() for name, parameter in module.named_parameters()})
        original(self, trainer, module, *rest)

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", hook)
    return found


def averaged(steps: list[Weights], decay: float) -> Weights:
    """The definition: the first weights, then min(decay, (1 + n) ÷ (10 + n)) of the average and the rest of the new."""
    average = {name: weight.double() for name, weight in steps[0].items()}
    for n, weights in enumerate(steps[1:], 1):
        share = min(decay, (1 + n) / (10 + n))
        average = {name: share * average[name] + (1 - share) * weight for name, weight in weights.items()}
    return average


def test_the_average_is_validated_and_tested_and_training_goes_on_from_the_weights(
    tiny: Tiny, steps: list[Weights]
) -> None:
    plain = RunFolder(train(tiny("method=bce", "schedule.end_to_end.max_epochs=3")))
    unaveraged = list(steps)
    steps.clear()
    folder = RunFolder(train(tiny("method=bce", "schedule.end_to_end.max_epochs=3", "+schedule.ema=0.3")))
    assert len(steps) == len(unaveraged) > 8
    for one, other in zip(steps, unaveraged, strict=True):  # what is averaged changes no step
        assert all(torch.equal(one[name], other[name]) for name in one)
    best = torch.load(folder.best, weights_only=True)["state_dict"]
    expected = averaged(steps, 0.3)
    for name, weight in expected.items():
        torch.testing.assert_close(best[name].double(), weight, rtol=1e-5, atol=1e-6)
    assert any(not torch.allclose(best[name], weight, atol=1e-4) for name, weight in steps[-1].items())
    losses = [
        [json.loads(line)["validation"]["loss"] for line in run.history.read_text().splitlines()]
        for run in (plain, folder)
    ]
    assert all(a != b for a, b in zip(*losses, strict=True))
    last = torch.load(folder.last, weights_only=True)
    assert all(torch.equal(last["current_model_state"][name], weight) for name, weight in steps[-1].items())


def test_a_moving_average_makes_another_run(tiny: Tiny) -> None:
    assert tiny("method=bce", "+schedule.ema=0.9").folder != tiny("method=bce").folder
    assert compose_settings(["method=lr", "+schedule.ema=0.9"]).ema == 0
