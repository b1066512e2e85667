from collections.abc import Callable

import pytest
import torch

from retdm.batch import Batch
from retdm.errors import UserError
from retdm.methods.networks.c2ae import C2AE
from retdm.runs.build import build_method
from retdm.settings.run_settings import RunSettings

LABELS = ["a", "b", "c", "d", "e"]


@pytest.fixture
def method(tiny: Callable[..., RunSettings]) -> C2AE:
    built = build_method(tiny("method=c2ae"), LABELS)
    assert isinstance(built, C2AE)
    return built


def drawn() -> Batch:
    draw = torch.Generator().manual_seed(0)
    target = (torch.rand(12, 5, generator=draw) < 0.4).float()
    return Batch(torch.arange(12), torch.randn(12, 3, 16, 16, generator=draw), target, target >= 0)


@pytest.mark.parametrize(
    "loss, reached",
    [("embedding", {"encoder", "image_encoder", "label_encoder"}), ("ranking", {"label_encoder", "decoder"})],
)
def test_a_loss_reaches_its_own_parts_alone(method: C2AE, loss: str, reached: set[str]) -> None:
    method.losses(drawn())[loss].backward()
    moved = {
        name
        for name, part in method.components.items()
        if any(parameter.grad is not None and parameter.grad.any() for parameter in part.parameters())
    }
    assert moved == reached


def test_scores_are_decoded_from_the_image(method: C2AE) -> None:
    batch = drawn()
    scores = method.eval().scores(batch)
    latent = method.classifier.image_encoder(method.encoder(batch))
    assert latent.shape == (12, 4)  # round(0.8 · 5)
    assert latent.abs().max() < 0.5
    assert torch.equal(scores, method.classifier.decoder(latent))
    assert torch.equal(scores, method.scores(batch._replace(target=1 - batch.target)))  # whatever the truth is


def test_an_unknown_label_is_told_from_a_negative_one_and_its_target_is_not_read(method: C2AE) -> None:
    batch = drawn()._replace(target=torch.zeros(12, 5).index_fill(1, torch.tensor([1]), 1))
    unknown = batch._replace(known=batch.known.index_fill(1, torch.tensor([0]), False))
    otherwise = unknown._replace(target=unknown.target.index_fill(1, torch.tensor([0]), 1))
    for name, loss in method.losses(unknown).items():
        assert torch.equal(loss, method.losses(otherwise)[name])
        assert not torch.allclose(loss, method.losses(batch)[name])


def test_it_trains_where_no_image_has_two_labels_to_rank(method: C2AE) -> None:
    batch = drawn()._replace(target=torch.zeros(12, 5))
    losses = method.losses(batch)
    assert losses["ranking"] == 0
    sum(losses.values(), torch.zeros(())).backward()
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("head", ["csra", "ml_decoder"])
def test_heads_that_classify_are_refused(tiny: Callable[..., RunSettings], head: str) -> None:
    with pytest.raises(UserError, match=f"method.head={head} is not one of average, max"):
        build_method(tiny("method=c2ae", f"method.head={head}"), LABELS)
