"""What things are called, and help with names that do not exist."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any


def nearest(name: str, options: Iterable[str]) -> str:
    """One sentence: the likeliest name meant, and which there are."""
    options = sorted(option for option in options if not option.startswith("_"))
    close = close_names(name, options, most=1)
    listed = ", ".join(options[:12]) + (", …" if len(options) > 12 else "")
    return (f"did you mean {close[0]}? " if close else "") + f"there are: {listed}"


def close_names(name: str, options: Iterable[str], most: int = 3) -> list[str]:
    """The options most like a name, capitals or not, the likest first; none where all are far from it."""
    written: dict[str, list[str]] = {}
    for option in options:
        written.setdefault(option.casefold(), []).append(option)
    found = difflib.get_close_matches(name.casefold(), written, n=most)
    return [option for each in found for option in written[each]][:most]


def network_of(config: Mapping[str, Any]) -> str:
    """The backbone of a run by the name that tells it from others: ``vgg16``; of timm's ``timm_<its name there>``."""
    choice, backbone = str(config["choices"]["backbone"]), config.get("backbone")
    name = backbone.get("name") if isinstance(backbone, Mapping) else None
    return choice if name is None else re.sub(r"[^\w.-]+", "_", f"{choice}_{name}")
