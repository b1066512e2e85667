"""Features of frozen backbones: computed once for all splits and stages, and continued after a kill."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from retdm.commands.train import train
from retdm.data import cached_array
from retdm.methods.components.multilevel_encoder import MultilevelEncoder
from retdm.runs.build import build_data, build_method, precompute
from retdm.settings.run_settings import RunSettings
from retdm.training.precompute import features as feature_cache

Tiny = Callable[..., RunSettings]


def test_features_are_extracted_once_for_all_splits_and_stages(
    tiny_l1lr: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    extracted: list[int] = []
    extract = MultilevelEncoder.extract

    def counted(self: MultilevelEncoder, image: torch.Tensor) -> torch.Tensor:
        extracted.append(len(image) if image.any() else 0)  # a blank image tells the shape
        return extract(self, image)

    monkeypatch.setattr(MultilevelEncoder, "extract", counted)
    train(tiny_l1lr("data.split=0"))
    assert sum(extracted) == 60
    train(tiny_l1lr("data.split=1", "method.features=embedding"))
    train(tiny_l1lr("data.split=1", "method=lr"))
    assert sum(extracted) == 60
    train(tiny_l1lr("data.split=0", "seed=3"))  # other random weights are another network
    assert sum(extracted) == 120


def test_features_go_on_where_a_killed_computation_stopped(tiny_l1lr: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "SAVED_EVERY", -1.0)
    monkeypatch.setattr(cached_array, "BLOCK", 1)  # a row each
    given, extracted = tiny_l1lr(), []
    extract = MultilevelEncoder.extract

    def dies(self: MultilevelEncoder, image: torch.Tensor) -> torch.Tensor:
        if len(extracted) == 3:  # the first is of a blank image, which tells the shape
            raise KeyboardInterrupt
        extracted.append(len(image))
        return extract(self, image)

    def features_of(given: dict[str, Any]) -> np.ndarray:
        data = build_data(given)
        method = build_method(given, data.labels)
        data = precompute(given, data, method)
        return np.array(data.features)

    with monkeypatch.context() as patch:
        patch.setattr(MultilevelEncoder, "extract", dies)
        with pytest.raises(KeyboardInterrupt):
            features_of(given)
    rest: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(MultilevelEncoder, "extract", lambda self, image: rest.append(len(image)) or extract(self, image))
        found = features_of(given)
    assert sum(extracted[1:]) + sum(rest[1:]) == 60
    given.data["cache"] = "none"
    assert np.array_equal(found, features_of(given))
