"""Features of several depths: the stages that are named, in the network's order."""

from typing import Any

import pytest
import torch
from makers import image_batch

from retdm.backbones.vgg import VGGSmall
from retdm.errors import UserError
from retdm.methods.components.multilevel_encoder import MultilevelEncoder


@pytest.mark.parametrize("given, stages", [("multilevel", None), ("embedding", ["fc"]), (["fc", "1"], ["1", "fc"])])
def test_features_are_those_of_the_named_stages_in_the_networks_order(given: Any, stages: list[str] | None) -> None:
    backbone = VGGSmall(channels=[8, 8])
    images = torch.rand(2, 3, 16, 16)
    expected = backbone.eval().multilevel(images, stages)
    assert torch.equal(MultilevelEncoder(backbone, given)(image_batch(images)), expected)


@pytest.mark.parametrize("given, message", [("deep", "method.features=deep"), (["7"], "method.features names 7")])
def test_a_stage_that_is_not_there_is_named(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MultilevelEncoder(VGGSmall(channels=[8, 8]), given)
