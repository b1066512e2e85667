"""Values out of YAML against the annotations of constructors, and annotations in a user's words."""

import math
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from retdm.ranges import Range

WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}


def fits(value: Any, kind: Any) -> bool:
    """True where a value out of YAML can stand for an annotation ``kind``.

    Args:
        value: null, true or false, a number, text, a list or a mapping.
        kind: such as ``int``, ``str | None``, ``Sequence[int]``, ``Mapping[str, float]``, ``Any``, or a number with its
            :class:`retdm.ranges.Range`: ``Annotated[float, Above(0)]``.
    """
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if kind is Any:
        return True
    if origin is Annotated:
        return fits(value, parts[0]) and all(value in each for each in parts[1:] if isinstance(each, Range))
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if kind is float:  # neither infinity nor not-a-number is a setting of anything here
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(value, origin) or (isinstance(value, str) and origin is not str):
        return False  # text is a sequence too, but never meant as one
    if isinstance(value, Mapping):
        return all(fits(item, parts[1] if parts else Any) for item in value.values())
    if isinstance(value, list | tuple):
        return all(fits(item, parts[0] if parts else Any) for item in value)
    return True


def in_words(kind: Any) -> str:
    """``a whole number or null`` for ``int | None``."""
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(in_words(part) for part in parts)
    if origin is Annotated:
        return " ".join([in_words(parts[0]), *(each.words for each in parts[1:] if isinstance(each, Range))])
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if kind in WORDS:
        return WORDS[kind]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "names with values"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return "a list" + (f" (each {in_words(parts[0])})" if parts and parts[0] is not Any else "")
    return str(kind)


def mapped(kind: Any) -> Any:
    """``float`` for ``Mapping[str, float] | None``: what a mapping's values must be. None where it takes no mapping."""
    for part in (kind, *get_args(kind)):
        origin = get_origin(part)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return get_args(part)[1]
    return None
