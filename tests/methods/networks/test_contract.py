"""What every deep method of conf/method keeps; a new one is under test with its YAML."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from deep_methods import METHODS, ready
from torch import Tensor, nn

from retdm.batch import Batch, tensors_of
from retdm.methods.deep import DeepMethod
from retdm.runs.build import build_method
from retdm.settings.run_settings import RunSettings

Tiny = Callable[..., RunSettings]


def train(method: DeepMethod, batch: Batch, lr: float, steps: int) -> None:
    """Some steps of the last stage on one batch."""
    method.train()
    optimizer: Any = method.optimizers(use_pl_optimizer=False)
    method.set_lr(lr)
    for _ in range(steps):
        optimizer.zero_grad()
        method.training_step(batch, 0)["loss"].backward()
        method.on_before_optimizer_step(optimizer)
        optimizer.step()
    method.eval()


def outcome(method: DeepMethod, batch: Batch) -> list[Tensor]:
    """Scores and losses, in evaluation mode."""
    method.eval()
    with torch.no_grad():
        return [method.scores(batch), *(loss for _, loss in sorted(method.losses(batch).items()))]


# Building


@pytest.mark.parametrize(
    ("name", "more"),
    [
        *itertools.product(METHODS, [(), ("precompute=true", "method.embedding_dim=4")]),
        *(("bce", (f"method.head={head}",)) for head in ("max", "csra", "ml_decoder")),
    ],
)
def test_every_parameter_that_is_made_is_kept_and_belongs_to_a_component(
    tiny: Tiny, name: str, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[int, nn.Parameter] = {}
    register = nn.Module.register_parameter

    def remember(self: nn.Module, key: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            made[id(parameter)] = parameter  # holds it, so that no other takes its id
        register(self, key, parameter)

    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "register_parameter", remember)
        method = build_method(tiny(f"method={name}", *more), ["a", "b", "c"])
    assert isinstance(method, DeepMethod)
    kept = {id(parameter) for parameter in method.parameters()}
    assert made.keys() == kept
    components = [id(parameter) for module in method.components.values() for parameter in module.parameters()]
    assert sorted(components) == sorted(kept)  # each once


@pytest.mark.parametrize("name", METHODS)
def test_a_checkpoint_brings_everything_back(tiny: Tiny, name: str) -> None:
    method, batch = ready(tiny(f"method={name}"))
    method.on_stage_start(method.stage, iter([batch]))
    train(method, batch, 0.01, steps=2)
    other, _ = ready(tiny(f"method={name}", "seed=1"))
    other.seed = method.seed  # of what a loss draws
    assert not torch.equal(outcome(other, batch)[0], outcome(method, batch)[0])
    other.load_state_dict(method.state_dict())
    for found, expected in zip(outcome(other, batch), outcome(method, batch), strict=True):
        assert torch.equal(found, expected)


# Losses


@pytest.mark.parametrize("name", METHODS)
def test_each_stage_has_its_losses_and_their_total_is_the_weighted_sum(tiny: Tiny, name: str) -> None:
    method, batch = ready(tiny(f"method={name}"))
    method.weights = {loss: 0.3 + 0.5 * i for i, loss in enumerate(method.loss_names)}
    for stage in method.stages:
        method.set_stage(stage, 0.1)
        losses = method.losses(batch)
        assert method.active == list(stage.losses)
        assert set(method.active) <= set(losses) <= set(method.loss_names)
        assert all(value.ndim == 0 and value >= 0 for value in losses.values())
        expected = sum(method.weights[loss] * losses[loss].item() for loss in stage.losses)
        assert method.total(losses).item() == pytest.approx(expected, rel=1e-5)
        step = method.training_step(batch, 0)
        assert set(step["losses"]) == set(stage.losses)
        assert not any(loss.requires_grad for loss in step["losses"].values())


@pytest.mark.parametrize("name", METHODS)
def test_the_validation_loss_is_a_function_of_weights_and_data_alone(
    tiny: Tiny, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, batch = ready(tiny(f"method={name}"))
    method.eval()
    found = set()
    for step in range(5):
        monkeypatch.setattr(type(method), "global_step", step)
        torch.manual_seed(step)
        found.add(method.validation_step(batch, 0)["loss"].item())
    assert len(found) == 1


@pytest.mark.parametrize("name", METHODS)
def test_a_step_draws_the_same_whatever_was_drawn_before_it(tiny: Tiny, name: str) -> None:
    method, batch = ready(tiny(f"method={name}"))
    method.train()
    first = method.training_step(batch, 0)["loss"]
    torch.rand(7)
    assert torch.equal(method.training_step(batch, 0)["loss"], first)


# RETDM's label net reads whole label sets, 0 where unknown as data sets give them; its own tests say the rest.
@pytest.mark.parametrize("name", [name for name in METHODS if not name.startswith("retdm")])
def test_the_target_of_an_unknown_cell_is_never_read(tiny: Tiny, name: str) -> None:
    method, batch = ready(tiny(f"method={name}"))
    known = torch.rand(batch.known.shape, generator=torch.Generator().manual_seed(0)) < 0.6
    target = batch.target * known
    unlike = torch.where(known, target, 1 - target)
    results = []
    for cells in (target, unlike):
        method.zero_grad()
        method.training_step(batch._replace(target=cells, known=known), 0)["loss"].backward()
        results.append([parameter.grad for parameter in method.parameters() if parameter.grad is not None])
    assert any(gradient.any() for gradient in results[0])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_labels_of_one_class_are_learnt_as_such(tiny: Tiny, name: str) -> None:
    method, batch = ready(tiny(f"method={name}", "method.embedding_dim=8"))
    target = torch.zeros_like(batch.target)
    target[:, 0] = 1
    target[::2, 1] = 1
    batch = batch._replace(target=target, known=torch.ones_like(batch.known))
    train(method, batch, 0.05, steps=15)
    scores = method.scores(batch)
    assert (scores[:, 0] > scores[:, 2:].amax(1)).all()


# Components


@pytest.mark.parametrize("name", METHODS)
def test_components_that_a_stage_does_not_train_get_no_gradient_and_are_in_evaluation_mode(
    tiny: Tiny, name: str
) -> None:
    method, batch = ready(tiny(f"method={name}"))
    batch.known[0] = False  # by which role's estimates are trained
    method.train()
    for stage in method.stages:
        method.set_stage(stage, 0.1)
        method.zero_grad()
        method.training_step(batch, 0)["loss"].backward()
        for component, module in method.components.items():
            trains = component in stage.train
            assert {child.training for child in module.modules()} == {trains}, component
            gradients = [parameter.grad for parameter in module.parameters()]
            if trains:
                assert all(gradient is not None for gradient in gradients), component
                assert any(gradient.abs().sum() > 0 for gradient in gradients if gradient is not None), component
            else:
                assert all(gradient is None for gradient in gradients), component
    method.eval()
    assert not any(child.training for child in method.modules())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("weights", ["none", "loaded"])
def test_batchnorm_moves_only_where_the_backbone_trains_and_began_at_random(
    tiny: Tiny, name: str, weights: str
) -> None:
    method, batch = ready(tiny(f"method={name}"), backbone={"_target_": "nets.Normed", "weights": weights})
    norm: Any = method.encoder.backbone.net[1]  # type: ignore[index]
    method.train()
    for stage in method.stages:
        method.set_stage(stage, 0.1)
        before = norm.running_mean.clone()
        method.training_step(batch, 0)
        moves = weights == "none" and "encoder" in stage.train
        assert norm.training == moves
        assert torch.equal(norm.running_mean, before) != moves


@pytest.mark.parametrize("name", METHODS)
def test_only_the_backbone_computes_in_bfloat16(tiny: Tiny, name: str) -> None:
    method, batch = ready(tiny(f"method={name}", "trainer.precision=bf16-mixed"))
    backbone = method.encoder.backbone
    inside, outside = set(), set()

    def remember(place: set[torch.dtype]) -> Callable[..., None]:
        return lambda module, inputs, output: place.add((output[0] if isinstance(output, tuple) else output).dtype)

    for module in method.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(remember(inside))
        elif not list(module.children()) and not any(module is child for child in backbone.modules()):
            module.register_forward_hook(remember(outside))
    for stage in method.stages:
        method.set_stage(stage, 0.1)
        losses = method.losses(batch)
        assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert method.scores(batch).dtype == torch.float32
    assert inside == {torch.bfloat16}
    assert outside == {torch.float32}
    assert {parameter.dtype for parameter in method.parameters()} == {torch.float32}


# Scores


@pytest.mark.parametrize("name", METHODS)
def test_scores_are_probabilities_of_each_image_alone(tiny: Tiny, name: str) -> None:
    method, batch = ready(tiny(f"method={name}"))
    method.eval()
    with torch.inference_mode():
        scores = method.scores(batch)
        alone = method.scores(Batch(*(column[:1] for column in tensors_of(batch).values())))
        other = method.scores(batch._replace(target=1 - batch.target))
    assert scores.shape == batch.target.shape
    assert scores.dtype == torch.float32
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert torch.allclose(scores[:1], alone, atol=1e-6)
    assert torch.equal(scores, other)  # whatever the labels are
