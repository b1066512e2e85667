"""Predictions as one page for a browser, which needs neither network nor server.

Notation: L labels.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from PIL import Image

from retdm.display.html import base64_text, rendered
from retdm.display.text import printable
from retdm.training.regions import brightness

MOST = 5_000  # cards; a page of so many takes some 40 MB
SIDE = 192  # of a thumbnail, in pixels
BARS = 5  # scores shown of each image, and all of its decided labels


class Truth(NamedTuple):
    """The true labels of an image, bool (L,); an unknown one is none."""

    target: np.ndarray
    known: np.ndarray


class Card(NamedTuple):
    """One image of the page.

    Attributes:
        file: its path.
        scores: (L,) in [0, 1].
        decided: bool (L,), its predicted labels.
        thumbnail: JPEG, of what the network sees of the image.
        maps: label -> scores (h, w) in [0, 1] of regions that together are the whole image.
        truth: its true labels; None where nobody said. All cards of a page have it, or none.
    """

    file: Path
    scores: np.ndarray
    decided: np.ndarray
    thumbnail: bytes
    maps: Mapping[int, np.ndarray] = MappingProxyType({})
    truth: Truth | None = None

    @property
    def missed(self) -> np.ndarray:
        """bool (L,), true labels that are not predicted."""
        found: np.ndarray = np.zeros_like(self.decided) if self.truth is None else self.truth.target & ~self.decided
        return found

    @property
    def added(self) -> np.ndarray:
        """bool (L,), predicted labels that it is known to lack."""
        if self.truth is None:
            return np.zeros_like(self.decided)
        found: np.ndarray = self.decided & self.truth.known & ~self.truth.target
        return found

    @property
    def error(self) -> float:
        """How far the scores of its wrongly decided labels are from the truth, in all."""
        return float((1 - self.scores[self.missed]).sum() + self.scores[self.added].sum())


def thumbnail(image: Image.Image) -> bytes:
    """A small JPEG of an RGB image."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=82)
    return stream.getvalue()


def heat_map(scores: np.ndarray) -> bytes:
    """Scores (h, w) as a PNG of as many pixels, brightest where they are highest."""
    colours = colormaps["inferno"](brightness(scores), bytes=True)
    stream = io.BytesIO()
    Image.fromarray(colours[..., :3]).save(stream, "PNG")
    return stream.getvalue()


def gallery_page(cards: Sequence[Card], labels: Sequence[str], *, run: Path, rule: str) -> bytes:
    """The page as HTML.

    Args:
        cards: at least one.
        labels: names of the L labels.
        run: folder of the run that predicted, named in the heading.
        rule: how labels were decided, in words.
    """
    has_truth = all(card.truth is not None for card in cards)
    if has_truth:
        where = "the run's own test split"
        shown = [_shown(card, str(card.file)) for card in sorted(cards, key=lambda card: -card.error)]
    else:
        places = [os.path.abspath(card.file) for card in cards]
        root = os.path.commonpath([os.path.dirname(place) for place in places])
        where = printable(Path(root))
        shown = [_shown(card, os.path.relpath(place, root)) for card, place in zip(cards, places, strict=True)]
    counts = np.sum([card.decided for card in cards], axis=0)
    return rendered(
        Path(__file__).with_name("gallery.html"),
        cards=shown,
        side=SIDE,
        labels=labels,
        counts=[int(count) for count in counts],
        without=sum(not card.decided.any() for card in cards),
        run=printable(run),
        where=where,
        has_truth=has_truth,
        wrong=sum(bool((card.missed | card.added).any()) for card in cards),
        rule=rule,
        has_maps=any(card.maps for card in cards),
    )


def _shown(card: Card, name: str) -> dict[str, object]:
    best = np.argsort(-card.scores, kind="stable")
    missed, added = (np.flatnonzero(each).tolist() for each in (card.missed, card.added))
    bars = [int(j) for place, j in enumerate(best) if place < BARS or card.decided[j] or card.missed[j]]
    maps = {j: (f"{scores.max():.2f}", base64_text(heat_map(scores))) for j, scores in card.maps.items()}
    return {
        "name": printable(Path(name)),
        "decided": [int(j) for j in np.flatnonzero(card.decided)],
        "true": [] if card.truth is None else np.flatnonzero(card.truth.target).tolist(),
        "missed": missed,
        "added": added,
        "scores": [f"{score:.4f}" for score in card.scores],
        "bars": [(j, float(card.scores[j]), bool(card.decided[j]), maps.get(j)) for j in bars],
        "thumbnail": base64_text(card.thumbnail),
        "margins": margins(card.thumbnail) if maps else None,
    }


def margins(picture: bytes) -> tuple[float, float]:
    """The space above and beside a picture that fills the page's 4:3 frame, in percent of its width."""
    with Image.open(io.BytesIO(picture)) as image:
        scale = min(4 / image.width, 3 / image.height)
        return 12.5 * (3 - scale * image.height), 12.5 * (4 - scale * image.width)
