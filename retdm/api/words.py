"""Settings as Python writes them, in the words of the command."""

import math
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from retdm.errors import UserError

# Text that needs no quotes, being no number and no word of Hydra's grammar.
PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)(?:[a-z_/]|\.\.?/)[\w./-]*", re.IGNORECASE)


def words_of(words: str | Sequence[str], settings: Mapping[str, Any]) -> list[str]:
    """The words of one run's command.

    Args:
        words: as one types them in a shell, quotes included; or a list of them, without quotes.
        settings: more of them as key -> value. A key may have dots, or its value may be a mapping of what is below it:
            ``{"data.image_size": 64}`` and ``{"data": {"image_size": 64}}`` are one word.

    Raises:
        UserError: a word is no setting, is a flag, stands for several runs, or contradicts another.
    """
    if not isinstance(words, str | Sequence):  # a caller without types
        raise UserError(
            f"{words!r} is no text of words", 'retdm.train("data=scene method=bce"), or a list of such words'
        )
    try:
        found = shlex.split(words) if isinstance(words, str) else [str(word) for word in words]
    except ValueError as error:
        raise UserError(f"{words!r} cannot be read as words: {error}", "quote as in a shell, or give a list") from error
    for word in found:
        if word.startswith("-"):
            raise UserError(
                f"{word}: flags are of the command; retdm.train takes settings, and trains one run",
                "several runs: `retdm train -m …` in a shell, or one call of retdm.train each",
            )
    found += [f"{key}={_text(key, value)}" for key, value in _flat(settings)]
    said: dict[str, str] = {}
    for override in parsed(found):
        word = str(override.input_line)
        before = said.setdefault(override.key_or_group, word)
        if before != word:
            raise UserError(f"{before} and {word} contradict each other", "leave one of them out")
        if override.is_sweep_override():
            raise UserError(
                f"{override.input_line}: several values are several runs, and retdm.train trains one",
                "`retdm train -m …` in a shell trains them all; in Python, call retdm.train for each",
            )
    return found


def parsed(words: Sequence[str]) -> list[Override]:
    """The words by Hydra's grammar. Raises ``HydraException`` for one that it cannot read."""
    found: list[Override] = OverridesParser.create().parse_overrides(list(words))
    return found


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(key: str, value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value) if isinstance(value, int) or not math.isfinite(value) else repr(value)
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        return text if PLAIN.fullmatch(text) else _quoted(text)
    if isinstance(value, list | tuple):
        return f"[{','.join(_text(key, each) for each in value)}]"
    if isinstance(value, Mapping):
        items = ",".join(f"{name}:{_text(key, each)}" for name, each in value.items())
        return f"{{{items}}}"
    raise UserError(
        f"{key} is of type {type(value).__name__}, which is no setting",
        "numbers, text, paths, true or false, None, lists and mappings of these",
    )


def _quoted(text: str) -> str:
    """Text in quotes. A backslash needs another one before a quote and before the end alone."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return "'{}'".format(escaped.replace("${", r"\${"))
