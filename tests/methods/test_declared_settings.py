"""Ranges and choices that a method's constructor declares are kept, whatever method it is."""

import inspect
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from composing import composed

from retdm.errors import UserError
from retdm.methods.base import Method
from retdm.methods.deep import DeepMethod
from retdm.ranges import Range
from retdm.registry import CONF
from retdm.settings.checks import accepted, check_group
from retdm.settings.run_settings import RunSettings

METHODS = sorted(file.stem for file in (CONF / "method").glob("*.yaml"))


def outside(kind: Any) -> Iterator[Any]:
    """Values just outside each range and choice within an annotation, in lists where it is one of a list."""
    if isinstance(kind, Range):
        yield from (kind.low - kind.with_low, kind.high + kind.with_high)
    elif get_origin(kind) is Literal:
        yield "unheard_of"
    else:
        is_list = getattr(get_origin(kind), "__name__", "") in ("list", "Sequence")
        for value in (value for part in get_args(kind) for value in outside(part)):
            yield [value] if is_list else value
    for part in getattr(kind, "__metadata__", ()):
        yield from outside(part)


def settings_of(name: str) -> RunSettings:
    return composed("data=synthetic", "backbone=vgg_small", f"method={name}", "trainer.precision=32-true")


@pytest.mark.parametrize("name", METHODS)
def test_a_value_outside_its_range_or_choices_is_an_error_that_names_the_setting(name: str) -> None:
    settings = settings_of(name)
    target = settings.classes["method"]
    check_group("method", settings.method, target, settings.choices)
    tried = 0
    for key, kind in accepted("method", target).items():
        for value in outside(kind):
            with pytest.raises(UserError, match=rf"method\.{key}="):
                check_group("method", settings.method | {key: value}, target, settings.choices)
            tried += 1
    assert tried or not issubclass(target, DeepMethod)


@pytest.mark.parametrize("name", METHODS)
def test_a_setting_that_a_subclass_takes_again_has_the_range_of_its_base(name: str) -> None:
    target = settings_of(name).classes["method"]
    bases = [base for base in inspect.getmro(target) if issubclass(base, Method) and "__init__" in vars(base)]
    hints = [get_type_hints(base.__init__, include_extras=True) for base in bases]  # type: ignore[misc]
    for place, own in enumerate(hints):
        for key in own:
            for base in hints[place + 1 :]:
                if key in base:
                    assert set(outside(base[key])) <= set(outside(own[key])), (name, key)
