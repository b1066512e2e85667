from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from by_hand import scores_by_hand

from retdm.training.inference import infer, predict

PARTLY = ["data._target_=makers.PartlyKnown", "data.validation_fraction=0.4", "method=bce", "data.batch_size=7"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_predictions_of_a_split_are_its_rows_in_order(plan: Callable[..., Any], split: str) -> None:
    fit = plan(*PARTLY)
    expected, found = scores_by_hand(fit, split), predict(fit.method, fit.data, split)
    assert list(found) == ["index", "scores", "target", "known"]
    for name in ("index", "target", "known"):
        assert np.array_equal(found[name], expected[name]), name
    assert np.allclose(found["scores"], expected["scores"], atol=1e-6)


def test_a_method_computes_in_evaluation_mode_and_is_as_before_whenever_a_result_is_handed_on(
    plan: Callable[..., Any],
) -> None:
    fit = plan(*PARTLY)
    method = fit.method.train()
    modes = [module.training for module in method.modules()]
    assert any(modes)
    generator = torch.get_rng_state()

    def compute(batch: Any) -> Any:
        assert not any(module.training for module in method.modules()) and torch.is_inference_mode_enabled()
        return batch.image.dtype

    rows = fit.data.splits["test"]
    found = []
    for batch, kind in infer(method, fit.data.batches_of(rows), compute):
        found += batch.index.tolist()
        assert kind == torch.float32  # normalised
        assert [module.training for module in method.modules()] == modes and not torch.is_inference_mode_enabled()
    assert found == rows.tolist()
    assert torch.equal(torch.get_rng_state(), generator)
