"""Label names of the user's own data, made safe and checked to differ, for every format of label file."""

import unicodedata
from collections.abc import Iterable, Sequence

from retdm.errors import UserError
from retdm.registry import close_names

BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they turn around what follows on a screen
EMPTY = str.maketrans("", "", "\u00ad\u200b\u2060\ufeff")  # invisible signs that editors leave behind


def has_control(text: str) -> bool:
    """True where ``text`` holds what a terminal would obey instead of show: escapes, line ends, turned writing."""
    return not text.isprintable() and any(
        sign in BIDI or unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in text
    )


def tidy(text: str, where: object) -> str:
    """``text`` with single spaces, composed letters (NFC) and no signs without width: it looks the same.

    Raises:
        UserError: it holds control characters; ``where`` begins the message.
    """
    found = text if text.isascii() else unicodedata.normalize("NFC", text.translate(EMPTY))
    found = " ".join(found.split())
    if has_control(found):
        raise UserError(f"{where}: the name {ascii(text)[:80]} holds control characters", "take them out of the name")
    return found


def distinct(names: Sequence[str], where: object) -> list[str]:
    """The tidy label ``names``.

    Raises:
        UserError: two of them are the same, or but for upper and lower case, ``_`` for a space, or signs without width.
    """
    found: list[str] = []
    by_key: dict[str, str] = {}
    for name in names:
        found.append(tidy(name, where))
        other = by_key.setdefault(_key(found[-1]), found[-1])
        if len(by_key) < len(found):
            alike = "twice" if other == found[-1] else f"and {other!r}, which differ in next to nothing"
            raise UserError(
                f"{where}: labels {found[-1]!r} {alike}",
                "write one of them everywhere, or give the two names that differ in a letter",
            )
    return found


def near(name: str, names: Iterable[str]) -> str:
    """Of ``names`` the one that was likely meant by ``name``, or ""."""
    there = list(names)
    by_key = {_key(each): each for each in there}
    if (same := by_key.get(_key(name))) is not None:
        return same
    return next(iter(close_names(name, there, 1, 0.75)), "")


def some(names: Sequence[str], most: int = 8) -> str:
    """The first of ``names``, and how many there are."""
    return ", ".join(names[:most]) + (f", … ({len(names)})" if len(names) > most else "")


def _key(name: str) -> str:
    if not name.isascii():
        name = "".join(sign for sign in unicodedata.normalize("NFC", name) if unicodedata.category(sign) != "Cf")
    return " ".join(name.replace("_", " ").split()).casefold() or name
