"""Walks over plain settings: mappings and lists out of YAML."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from retdm import registry


def flat(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of every entry, in order; a mapping comes before what is in it."""
    for key, value in content.items():
        yield f"{prefix}{key}", value
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Keys whose values differ, as ``key: old -> new``; the items of a list of stages go by their names."""
    found = []
    for key in sorted(set(old) | set(new)):
        a, b = _by_name(old.get(key)), _by_name(new.get(key))
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {short(a)} -> {short(b)}")
    return found


def _by_name(value: Any) -> Any:
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        return {item["name"]: item for item in value}
    return value


def short(value: Any) -> str:
    """At most 40 characters of a value."""
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "…"


def where_written(path: str, choices: Mapping[str, Any], value: Any) -> str:
    """The YAML file that gives a key this value, as a prefix of a message; nothing where the command gave it."""
    group, _, rest = path.partition(".")
    for folder, keys in (("experiment", path), (group, rest)):
        chosen = registry.CONF / folder / f"{choices.get(folder)}.yaml"
        for file in registry.files_of(folder, chosen.stem) if chosen.is_file() else ():
            node: Any = yaml.safe_load(file.read_text()) or {}
            for key in keys.split("."):
                node = node.get(key) if isinstance(node, dict) else None
            if node is not None and node == value:
                return f"conf/{file.relative_to(registry.CONF)}: "
    return ""
