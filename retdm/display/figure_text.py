"""Names of labels and files from users in figures: without mathematics, in fonts that have their characters."""

import functools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from matplotlib import font_manager, rc_context, rcParams
from matplotlib.ft2font import FT2Font

# Tried first for a character that is not in the usual font; then all other installed ones.
WIDE = (
    "Noto Sans",
    "Source Han",
    "Droid Sans Fallback",
    "WenQuanYi",
    "Hiragino",
    "PingFang",
    "Arial Unicode",
    "Segoe UI",
)
MISSING = "□"


def plain(text: str, most: int = 60) -> str:
    """Write a text on one line of at most ``most`` characters, in which Matplotlib sees no mathematics.

    A character that is not in the usual font is drawn in another installed one, or as ``□`` where none has it.
    """
    text = "".join(character if _drawn(character) else MISSING for character in _shown(" ".join(text.split())))
    return (text if len(text) <= most else text[: most - 1] + "…").replace("$", r"\$")


def label_names(labels: Sequence[str], most: int = 60) -> list[str]:
    """Write the labels as :func:`plain` text, all different.

    A label that no installed font can draw is ``label 3``, by its place from 1; several that are equal when shortened
    each end with their place.
    """
    names = [plain(label, most) if _readable(label) else f"label {j}" for j, label in enumerate(labels, 1)]
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{plain(label, most - len(f' ({j})'))} ({j})"
        for j, (name, label) in enumerate(zip(names, labels, strict=True), 1)
    ]


def undrawn(labels: Sequence[str]) -> list[str]:
    """The legend of the labels that no installed font can draw: ``label 3 is 海``."""
    return [f"label {j} is {label}" for j, label in enumerate(labels, 1) if not _readable(label)]


@contextmanager
def fonts_restored() -> Iterator[None]:
    """A block after which Matplotlib's settings, fonts among them, are those of before."""
    with rc_context():
        try:
            yield
        finally:
            _drawn.cache_clear()  # or a font that was found would not be used again


def _shown(text: str) -> Iterable[str]:
    """Drop characters without a shape: joiners, directions, variants of an emoji, control characters."""
    return (c for c in text if c.isprintable() and not "\ufe00" <= c <= "\ufe0f")


def _readable(text: str) -> bool:
    """True if all letters and digits of a text can be drawn; other characters, such as an emoji, may be missing."""
    shown = list(_shown(text))
    return all(map(_drawn, [c for c in shown if c.isalnum()] or shown))


@functools.cache
def _drawn(character: str) -> bool:
    """True if an installed font has the character; a font found this way is used after the usual one from now on."""
    if ord(character) in _usual():
        return True
    for family, path in _others():
        if ord(character) in _characters(path):
            if family not in rcParams["font.family"]:
                # It may not have every weight, and Matplotlib would warn at each text.
                logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
                rcParams["font.family"] = [*rcParams["font.family"], family]
            return True
    return False


@functools.cache
def _usual() -> frozenset[int]:
    """Characters of the usual font of figures, in both weights."""
    weights = (font_manager.FontProperties(weight=weight) for weight in ("normal", "bold"))
    regular, bold = (_characters(str(font_manager.findfont(weight))) for weight in weights)
    return regular & bold


@functools.cache
def _others() -> list[tuple[str, str]]:
    """(family, file of its usual weight) of the installed fonts, the likely ones first."""
    fonts = sorted(font_manager.fontManager.ttflist, key=lambda font: str(font.weight) not in ("400", "normal"))
    files = {font.name: font.fname for font in reversed(fonts) if "Last Resort" not in font.name}
    return sorted(files.items(), key=lambda each: (not each[0].startswith(WIDE), each[0]))


@functools.cache
def _characters(path: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a damaged or removed font
        return frozenset()
