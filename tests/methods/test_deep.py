"""What DeepMethod does for every method, tried on one with one loss and one with several stages."""

import itertools
from collections.abc import Callable

import pytest
import torch
from deep_methods import ready
from torch import nn

from retdm.errors import UserError
from retdm.methods.components.heads import CSRA
from retdm.runs.build import build_method
from retdm.settings.run_settings import RunSettings

Tiny = Callable[..., RunSettings]
TWO = pytest.mark.parametrize("name", ["bce", "retdm"])


# Settings


@TWO
@pytest.mark.parametrize(
    "override, message",
    [
        ("+method.weights.metrik=1", "method.weights.metrik: there is no such loss"),
        ("+method.clip.head=1", "method.clip names head"),
        ("+method.lr_factor.head=1", "method.lr_factor names head"),
        ("+method.lr_factor={encoder.backbone.head:1}", "method.lr_factor names encoder.backbone.head"),
    ],
)
def test_a_name_that_the_method_does_not_have_is_an_error(tiny: Tiny, name: str, override: str, message: str) -> None:
    settings = tiny(f"method={name}", override)
    with pytest.raises(UserError, match=message) as error:
        build_method(settings, ["a"])
    assert "classifi" in error.value.hint  # there are: …, classifier, or: losses: classification


@pytest.mark.parametrize(
    "override, message",
    [
        ("++method.weights.classification=-1", "method.weights.classification=-1 is not a number of at least 0"),
        ("+method.clip.encoder=0", "method.clip.encoder=0 is not a number above 0"),
        ("+method.lr_factor.encoder=-1", "method.lr_factor.encoder=-1 is not a number above 0"),
    ],
)
def test_a_value_within_a_mapping_has_its_range(tiny: Tiny, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny("method=bce", override)


@TWO
@pytest.mark.parametrize("key, there", [("train", "encoder, classifier"), ("losses", "classification")])
def test_a_stage_that_names_what_the_method_lacks_is_an_error_that_lists_what_there_is(
    tiny: Tiny, name: str, key: str, there: str
) -> None:
    settings = tiny(f"method={name}")
    settings.method["stages"][-1][key] = ["unheard_of"]
    stage = settings.method["stages"][-1]["name"]
    with pytest.raises(UserError, match=f"stage {stage}: {key} names unheard_of") as error:
        build_method(settings, ["a"])
    assert there in error.value.hint


@TWO
def test_building_a_method_leaves_the_callers_random_numbers_alone(tiny: Tiny, name: str) -> None:
    settings = tiny(f"method={name}")
    torch.manual_seed(12)
    expected = torch.rand(1)
    torch.manual_seed(12)
    one = build_method(settings, ["a", "b"])
    assert torch.equal(torch.rand(1), expected)
    two = build_method(settings, ["a", "b"])
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))
    other = build_method(settings.changed(seed=1), ["a", "b"])
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


# Losses


@TWO
def test_a_loss_of_weight_zero_is_switched_off(tiny: Tiny, name: str) -> None:
    method, _ = ready(tiny(f"method={name}"))
    for stage, loss in itertools.product(method.stages, method.loss_names):
        method.set_stage(stage, 0.1)
        method.weights = dict.fromkeys(method.loss_names, 1.0) | {loss: 0.0}
        assert method.active == [other for other in stage.losses if other != loss]


@TWO
def test_a_stage_whose_losses_are_all_switched_off_says_so(tiny: Tiny, name: str) -> None:
    method, batch = ready(tiny(f"method={name}"))
    method.weights = dict.fromkeys(method.loss_names, 0.0)
    for stage in method.stages:
        method.set_stage(stage, 0.1)
        with pytest.raises(UserError, match=f"stage {stage.name} has nothing to train") as error:
            method.training_step(batch, 0)
        assert f"schedule.{stage.name}.max_epochs=0" in error.value.hint


# The optimizer


@TWO
def test_the_optimizer_holds_every_parameter_once_in_the_group_of_its_component(tiny: Tiny, name: str) -> None:
    method, _ = ready(tiny(f"method={name}"))
    (optimizer,) = method.trainer.strategy.optimizers
    groups = {(group["name"], group["is_vectors"]): group["params"] for group in optimizer.param_groups}
    for component, module in method.components.items():
        for is_vectors in (False, True):
            own = [id(parameter) for parameter in module.parameters() if (parameter.ndim < 2) == is_vectors]
            assert own == [id(each) for each in groups.pop((component, is_vectors), [])]
    assert not groups


@TWO
def test_each_components_rate_is_the_stages_times_its_factor(tiny: Tiny, name: str) -> None:
    method, _ = ready(tiny(f"method={name}", "+method.lr_factor.classifier=10"))
    method.set_stage(method.stages[0], 0.02)
    (optimizer,) = method.trainer.strategy.optimizers
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {each: pytest.approx(0.2 if each == "classifier" else 0.02) for each in method.components}


@TWO
def test_the_gradient_of_a_component_is_clipped_to_its_norm(tiny: Tiny, name: str) -> None:
    method, batch = ready(tiny(f"method={name}"))
    method.clip = {"classifier": 1e-3}
    method.training_step(batch, 0)["loss"].backward()

    def norm(module: nn.Module) -> float:
        return sum(p.grad.square().sum().item() for p in module.parameters() if p.grad is not None) ** 0.5

    encoder = norm(method.encoder)
    method.on_before_optimizer_step(method.trainer.strategy.optimizers[0])
    assert norm(method.classifier) == pytest.approx(1e-3, rel=1e-3)
    assert norm(method.encoder) == encoder > 1e-3


# Images


def test_images_are_normalised_by_the_backbones_transform(tiny: Tiny) -> None:
    method, _ = ready(tiny("method=bce"))
    image = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    transform = method.encoder.backbone.transform
    for channel, (mean, deviation) in enumerate(zip(transform.mean, transform.std, strict=True)):
        expected = (image[:, channel].double() / 255 - mean) / deviation
        assert torch.allclose(method.normalised(image)[:, channel].double(), expected, atol=1e-5)


# Regions


def test_csra_scores_regions_by_its_directions(tiny: Tiny) -> None:
    method, batch = ready(tiny("method=bce", "method.head=csra"))
    head = method.eval().classifier
    assert isinstance(head, CSRA) and method.scores_instances
    rows, _ = method.encoder.instances(batch)
    weight = head.weight / head.weight.norm(dim=1, keepdim=True)
    assert torch.allclose(method.instance_scores(batch), (rows @ weight.T + head.bias).sigmoid(), atol=1e-6)
