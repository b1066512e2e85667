"""RETDM's defaults hold on frozen features at ten times their rates, and a collapse is warned of."""

import json
from pathlib import Path
from typing import Any

import pytest

from retdm.commands.train import train
from retdm.settings.compose import compose_settings

EPOCHS = {"classification": 4, "label_embedding": 3, "joint": 4}


def report(folder: Path, times: float, *overrides: str) -> dict[str, Any]:
    """``metrics.json`` of three stages on fixed features, at so many times the default rates."""
    rates = compose_settings(["schedule=staged", f"outputs={folder}"]).method["stages"]
    settings = compose_settings(
        [
            "data._target_=makers.Patterns",
            "data.size=400",
            "data.batch_size=16",
            "~data.seed",
            "~data.tiles",
            "~data.characteristics",
            "data.image_size=16",
            "data.group_duplicates=none",
            "backbone._target_=makers.FixedFeatures",
            "~backbone.channels",
            "~backbone.convs",
            "schedule=staged",
            *(f"schedule.{stage['name']}.lr={times * stage['lr']}" for stage in rates),
            *(f"schedule.{name}.max_epochs={epochs}" for name, epochs in EPOCHS.items()),
            "trainer.accelerator=cpu",
            f"outputs={folder}",
            *overrides,
        ]
    )
    content: dict[str, Any] = json.loads((train(settings) / "metrics.json").read_text())
    return content


@pytest.mark.slow
def test_at_ten_times_the_default_rates_it_neither_diverges_nor_collapses(tmp_path: Path) -> None:
    retdm = report(tmp_path, 10)
    assert retdm["stages"][-1]["train_loss"] < retdm["stages"][1]["train_loss"]
    # A logistic regression on the same features gets about .95; a collapse is near the labels' frequencies, .25.
    assert retdm["test"]["mAP"] > 0.8
    assert "has collapsed" not in next(tmp_path.rglob("log.txt")).read_text()


@pytest.mark.slow
def test_too_large_a_metric_weight_is_warned_of_at_the_stage_start(tmp_path: Path) -> None:
    report(tmp_path, 1, "method.weights.metric=100", "schedule.joint.max_epochs=1")
    assert "lower method.weights.metric (now 100)" in next(tmp_path.rglob("log.txt")).read_text()
