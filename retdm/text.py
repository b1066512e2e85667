"""Text that users brought (names of labels and files), as it may stand on a terminal or in a table."""

import os
import re
import unicodedata
from pathlib import Path

# What makes a spreadsheet read a cell as a formula: https://owasp.org/www-community/attacks/CSV_Injection
FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def printable(text: Path | str) -> str:
    """A path, or words with one, in one line of UTF-8: control characters and other bytes as backslash sequences."""
    text = os.fsencode(text).decode(errors="backslashreplace")
    return "".join(c if _harmless(c) else c.encode("unicode_escape").decode() for c in text)


def _harmless(c: str) -> bool:
    # Wide and unbreakable spaces, and what joins emoji, are no controls though Python does not call them printable.
    return c.isprintable() or unicodedata.category(c) == "Zs" or c == "\u200d"


def safe_cell(text: str) -> str:
    """Text for a cell of a csv file: with ``'`` before it where a spreadsheet would run it as a formula.

    A number stays as it is, also one with a sign.
    """
    if not text.startswith(FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def path_cell(path: Path) -> str:
    """A path for a cell of a csv file: with ``./`` before it where a spreadsheet would run it; it still opens."""
    text = str(path)
    return f"./{text}" if text.startswith(FORMULA) else text


def as_markdown(text: str) -> str:
    """Text that means itself in GitHub's Markdown, mathematics and HTML too; what stands between backticks is code."""
    pieces = " ".join(text.split()).split("`")
    if len(pieces) % 2 == 0:  # a backtick without another is no code
        return _escaped("`".join(pieces))
    return "".join(f"`{piece}`" if i % 2 else _escaped(piece) for i, piece in enumerate(pieces))


def _escaped(text: str) -> str:
    # An underscore inside a word is no emphasis, and names have many.
    return re.sub(r"[\\`*<>&$\[\]|~]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)
