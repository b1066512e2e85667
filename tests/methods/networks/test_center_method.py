from collections.abc import Callable

import pytest
import torch

from retdm.batch import Batch
from retdm.methods.networks.center import Center
from retdm.runs.build import build_method
from retdm.settings.run_settings import RunSettings

LABELS = ["a", "b", "c", "d", "never"]


@pytest.fixture
def method(tiny: Callable[..., RunSettings]) -> Center:
    built = build_method(tiny("method=center", "method.embedding_dim=6"), LABELS)
    assert isinstance(built, Center)
    built.centers.copy_(torch.randn(5, 6, generator=torch.Generator().manual_seed(1)))
    return built.train()  # type: ignore[return-value]


def drawn() -> Batch:
    draw = torch.Generator().manual_seed(0)
    known = torch.rand(12, 5, generator=draw) < 0.8
    target = (torch.rand(12, 5, generator=draw) < 0.5) & known
    target[:, 4] = False
    return Batch(torch.arange(12), torch.randn(12, 3, 16, 16, generator=draw), target.float(), known)


def test_a_step_moves_the_centres_once_and_by_their_rule(method: Center) -> None:
    batch, before = drawn(), method.centers.clone()
    embedding, _ = method.embed_and_classify(batch)
    method.training_step(batch, 0)["loss"].backward()
    assert torch.equal(method.centers, before)
    assert not method.centers.requires_grad
    for _ in range(2):  # the second is no step: nothing was looked at since
        method.on_before_optimizer_step(torch.optim.SGD(method.parameters()))
    for label, center in enumerate(before):
        own = [embedding[i] for i in range(12) if batch.target[i, label] == 1]
        moved = center - 0.5 * sum((center - x for x in own), torch.zeros(6)) / (1 + len(own))
        torch.testing.assert_close(method.centers[label], moved, rtol=1e-5, atol=1e-6)
        assert torch.equal(method.centers[label], center) == (LABELS[label] == "never")


def test_validation_and_a_weight_of_zero_leave_the_centres(method: Center) -> None:
    batch, before = drawn(), method.centers.clone()
    method.eval()
    method.validation_step(batch, 0)
    method.on_before_optimizer_step(torch.optim.SGD(method.parameters()))
    assert torch.equal(method.centers, before)
    method.train()
    method.weights["center"] = 0.0
    method.training_step(batch, 0)
    method.on_before_optimizer_step(torch.optim.SGD(method.parameters()))
    assert torch.equal(method.centers, before)


def test_the_centres_are_in_the_checkpoint(method: Center) -> None:
    assert torch.equal(method.state_dict()["centers"], method.centers)
