"""The command lines of the benchmarks: ``key=value`` words in the place of defaults."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from retdm.registry import nearest


def names_among(key: str, text: str, known: Iterable[str]) -> list[str]:
    """The names that an option lists, all of them where it lists none.

    The process ends with one line where a name is unknown.
    """
    names = text.split(",") if text else list(known)
    if unknown := set(names) - set(known):
        sys.exit(f"error: {key}={', '.join(unknown)}; there are: {', '.join(known)}")
    return names


def options_of(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults with what the command line says instead, each value of its default's type.

    The process ends with one line where a key is unknown or a value is of another type.
    """
    options = dict(defaults)
    for word in sys.argv[1:]:
        key, _, value = word.partition("=")
        if key not in defaults:
            sys.exit(f"error: {key} is not an option; {nearest(key, defaults)}")
        try:
            options[key] = type(defaults[key])(value)
        except ValueError:
            sys.exit(f"error: {key}={value} is not a number")
    return options
