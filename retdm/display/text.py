"""Names of labels and files from users, made safe for a terminal, a table or Markdown."""

import os
import re
import unicodedata
from pathlib import Path

# A spreadsheet reads a cell that begins with one of these as a formula: https://owasp.org/www-community/attacks/CSV_Injection
FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def printable(text: Path | str) -> str:
    """Write a path or text in one line of UTF-8, with control characters and other bytes as backslash sequences."""
    text = os.fsencode(text).decode(errors="backslashreplace")
    return "".join(c if _harmless(c) else c.encode("unicode_escape").decode() for c in text)


def _harmless(c: str) -> bool:
    # Wide and unbreakable spaces and the joiner of emoji are harmless, though Python does not call them printable.
    return c.isprintable() or unicodedata.category(c) == "Zs" or c == "\u200d"


def safe_cell(text: str) -> str:
    """Prepare text for a cell of a csv file: ``'`` goes before what a spreadsheet would run as a formula.

    A number stays as it is, with a sign too.
    """
    if not text.startswith(FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def path_cell(path: Path) -> str:
    """Prepare a path for a cell of a csv file: ``./`` goes before what a spreadsheet would run, and it still opens."""
    text = str(path)
    return f"./{text}" if text.startswith(FORMULA) else text


def as_markdown(text: str) -> str:
    """Escape text for GitHub's Markdown, its mathematics and HTML included; text between backticks is code."""
    pieces = " ".join(text.split()).split("`")
    if len(pieces) % 2 == 0:  # a single backtick is not code
        return _escaped("`".join(pieces))
    return "".join(f"`{piece}`" if i % 2 else _escaped(piece) for i, piece in enumerate(pieces))


def _escaped(text: str) -> str:
    # An underscore inside a word is not emphasis, and names have many.
    return re.sub(r"[\\`*<>&$\[\]|~]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)
