"""A tiny network whose stages are drawn, and what a validation leaves to draw."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from retdm.backbones.base import Backbone
from retdm.criteria.mean_average_precision import label_average_precision
from retdm.methods.networks.retdm import RETDM

NAMES = ["desert", "mountains", "sea", "sunset", "trees"]
STAGES = [
    {"name": "first", "train": ["encoder", "classifier"], "losses": ["classification"]},
    {"name": "second", "train": ["label_net"], "losses": ["metric"]},
]


class Tiny(Backbone):
    """A network with all that could be disturbed: running statistics and dropout."""

    name = "tiny"
    stages = ("conv", "fc")
    smallest = 8

    def __init__(self) -> None:
        layers = [("conv", nn.Conv2d(3, 6, 5, 4)), ("norm", nn.BatchNorm2d(6)), ("relu", nn.ReLU())]
        net = nn.Sequential(OrderedDict([*layers, ("drop", nn.Dropout(0.5))]))
        super().__init__(net, dim=6, weights="none", load=False)

    def levels(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        yield "conv", self.net(image)


def stages_of(names: list[str], epochs: int = 1) -> list[dict[str, Any]]:
    chosen = [stage for stage in STAGES if stage["name"] in names]
    return [{**stage, "lr": 0.05, "rule": "one_cycle", "max_epochs": epochs} for stage in chosen]


def make_method(names: tuple[str, ...] = ("first", "second")) -> RETDM:
    torch.manual_seed(0)
    return RETDM(Tiny(), NAMES, embedding_dim=7, k=2, stages=stages_of(list(names)), seed=1)


def precisions(rows: dict[str, np.ndarray]) -> np.ndarray:
    return label_average_precision(rows["scores"], rows["target"], rows["known"])
