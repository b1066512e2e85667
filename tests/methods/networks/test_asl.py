from collections.abc import Callable
from typing import Any

import torch

from retdm.batch import Batch
from retdm.runs.build import build_method
from retdm.runs.settings import RunSettings

LABELS = ["a", "b", "c", "d", "e"]


def trained(settings: RunSettings) -> dict[str, torch.Tensor]:
    """Weights after five steps."""
    method: Any = build_method(settings, LABELS)
    optimizer = method.configure_optimizers()
    draw = torch.Generator().manual_seed(0)
    known = torch.rand(12, 5, generator=draw) < 0.8
    target = ((torch.rand(12, 5, generator=draw) < 0.4) & known).float()
    batch = Batch(torch.arange(12), torch.randn(12, 3, 16, 16, generator=draw), target, known)
    for _ in range(5):
        optimizer.zero_grad()
        method.training_step(batch, 0)["loss"].backward()
        optimizer.step()
    weights: dict[str, torch.Tensor] = method.state_dict()
    return weights


def test_without_gammas_and_clip_it_trains_as_bce_does(tiny: Callable[..., RunSettings]) -> None:
    rate = "schedule.end_to_end.lr=0.5"
    bce = trained(tiny("method=bce", rate))
    off = ["method.gamma_positive=0", "method.gamma_negative=0", "method.clip_negative=0"]
    torch.testing.assert_close(trained(tiny("method=asl", rate, *off)), bce, rtol=1e-6, atol=1e-7)
    for one_of_them in ("method.gamma_positive=1", "method.gamma_negative=4", "method.clip_negative=0.3"):
        found = trained(tiny("method=asl", rate, *off, one_of_them))
        assert not torch.allclose(found["classifier.weight"], bce["classifier.weight"], atol=1e-4), one_of_them


def test_detach_changes_what_is_learned(tiny: Callable[..., RunSettings]) -> None:
    one, other = (trained(tiny("method=asl", f"method.detach={detach}")) for detach in ("false", "true"))
    assert not torch.allclose(one["classifier.weight"], other["classifier.weight"], atol=1e-5)
