"""Help with names that do not exist."""

import difflib
from collections.abc import Iterable


def nearest(name: str, options: Iterable[str]) -> str:
    """One sentence: the likeliest name meant, and which there are."""
    options = sorted(option for option in options if not option.startswith("_"))
    close = difflib.get_close_matches(name, options, n=1)
    listed = ", ".join(options[:12]) + (", …" if len(options) > 12 else "")
    return (f"did you mean {close[0]}? " if close else "") + f"there are: {listed}"
