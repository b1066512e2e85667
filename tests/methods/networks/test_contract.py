"""What every deep method of conf/method keeps, on images or on bags; a new one is under test with its YAML."""

import itertools
from collections.abc import Iterator

import pytest
from torch import nn

from retdm.methods.deep import DeepMethod
from retdm.registry import CONF
from retdm.runs.build import build_method
from retdm.runs.compose import compose_settings
from retdm.runs.settings import RunSettings

LABELS = ["a", "b", "c"]
IMAGES = ["data=synthetic", "backbone=vgg_small", "backbone.channels=[8,8]", "trainer.precision=32-true"]


def settings_of(name: str, *more: str) -> RunSettings:
    return compose_settings([*IMAGES, f"method={name}", *more])


def _deep_methods() -> Iterator[str]:
    for file in sorted((CONF / "method").glob("*.yaml")):
        if issubclass(settings_of(file.stem).classes["method"], DeepMethod):
            yield file.stem


METHODS = list(_deep_methods())


@pytest.mark.parametrize(
    ("name", "more"),
    [
        *itertools.product(METHODS, [(), ("precompute=true", "method.embedding_dim=4")]),
        *(("bce", (f"method.head={head}",)) for head in ("max", "csra", "ml_decoder")),
    ],
)
def test_every_parameter_that_is_made_is_kept_and_belongs_to_a_component(
    name: str, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[int, nn.Parameter] = {}
    register = nn.Module.register_parameter

    def remember(self: nn.Module, key: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            made[id(parameter)] = parameter  # holds it, so that no other takes its id
        register(self, key, parameter)

    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "register_parameter", remember)
        method = build_method(settings_of(name, *more), LABELS)
    assert isinstance(method, DeepMethod)
    kept = {id(parameter) for parameter in method.parameters()}
    assert made.keys() == kept
    components = [id(parameter) for module in method.components.values() for parameter in module.parameters()]
    assert sorted(components) == sorted(kept)  # each once
