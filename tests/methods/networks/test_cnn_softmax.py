from collections.abc import Callable

import pytest
import torch

from retdm.batch import Batch
from retdm.runs.build import build_method
from retdm.runs.settings import RunSettings


def test_the_labels_of_an_image_share_one_probability(tiny: Callable[..., RunSettings]) -> None:
    method = build_method(tiny("method=cnn_softmax"), ["a", "b", "c"])
    bias = torch.tensor([5.0, 5.0, -5.0])
    method.classifier.weight.data.zero_()  # type: ignore[union-attr, operator]
    method.classifier.bias.data.copy_(bias)  # type: ignore[union-attr, operator]
    nothing = torch.zeros(4, 3)
    scores = method.eval().scores(Batch(torch.arange(4), torch.randn(4, 3, 16, 16), nothing, nothing.bool()))
    assert scores.sum(1).tolist() == pytest.approx([1] * 4)
    assert scores[0].tolist() == pytest.approx([0.5, 0.5, 0], abs=1e-4)
