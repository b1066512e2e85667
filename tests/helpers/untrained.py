"""Runs whose network was never trained."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from retdm.methods.on_features.logistic import Logistic
from retdm.runs.build import build_method, describe
from retdm.runs.folder.paths import RunFolder
from retdm.settings.run_settings import RunSettings

Untrained = Callable[..., RunFolder]


def untrained_run(settings: RunSettings, folder: Path) -> RunFolder:
    """A run folder with a checkpoint of three labels, never trained; what training would have moved from zero, and
    BatchNorm's statistics, have moved all the same."""
    network = build_method(settings, ["a", "b", "c"], load=False)
    if isinstance(network, Logistic):  # the one fitted method that is exported
        draw = np.random.default_rng(0)
        features, target = draw.standard_normal((20, sum(network.widths.values()))), draw.integers(0, 2, (20, 3))
        network.fit(features.astype(np.float32), target, np.ones((20, 3), bool))
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if "running_" in name or not tensor.any():
            noise = torch.rand(tensor.shape, generator=generator) * 0.1
            tensor.copy_(noise + 0.5 if "running_" in name else noise - 0.05)
    run = RunFolder(folder)
    run.checkpoints.mkdir(parents=True)
    torch.save({"state_dict": network.state_dict(), "retdm": describe(settings, network, None, None)}, run.best)
    return run
