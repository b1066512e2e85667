"""The page on which findings of a review are taken or refused by the keyboard; it needs neither network nor server."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retdm.data.images import UnreadableImage
from retdm.data.source import ImageSource, state_of
from retdm.display.html import base64_text, rendered
from retdm.display.text import printable, safe_cell
from retdm.review.findings import COLUMNS, KINDS, Finding, image_cell

SIDE = 448  # of a picture in pixels, at most: large enough to see what is small


def review_page(findings: Sequence[Finding], source: ImageSource, *, name: str, words: str, top: int) -> bytes:
    """The page as HTML. It remembers decisions in the browser as long as the labels are the same.

    Args:
        findings: in their order.
        source: of the images and labels.
        name: of the data set.
        words: what scored the images.
        top: findings of each kind at most.
    """
    shown: list[Finding] = []
    counts: Counter[str] = Counter()
    for each in findings:
        counts[each.kind] += 1
        if counts[each.kind] <= top:
            shown.append(each)
    rows = sorted({row for each in shown for row in (each.row, each.copy) if row is not None})
    place = {row: i for i, row in enumerate(rows)}
    content: dict[str, Any] = {
        "key": f"retdm review {hashlib.sha256(json.dumps(state_of(source)).encode()).hexdigest()[:16]}",
        "columns": list(COLUMNS),
        "labels": [{"name": printable(label), "cell": safe_cell(label)} for label in source.names],
        "images": [_image(source, row) for row in rows],
        "findings": [
            {
                "kind": each.kind,
                "image": place[each.row],
                "label": each.label,
                "given": each.given,
                "score": round(each.score, 3),
                "copy": None if each.copy is None else place[each.copy],
            }
            for each in shown
        ],
    }
    return rendered(
        Path(__file__).with_name("review.html"),
        content=content,
        name=name,
        words=words,
        kinds=[(kind, min(counts[kind], top), counts[kind]) for kind in KINDS],
        labels=sorted({source.names[each.label] for each in shown}),
        total=len(shown),
    )


def _image(source: ImageSource, row: int) -> dict[str, Any]:
    given = np.flatnonzero((source.targets[row] > 0) & source.known[row])
    return {
        "name": printable(Path(source.ids[row])),
        "cell": image_cell(source, row).encode(errors="surrogateescape").decode(errors="backslashreplace"),
        "given": given.tolist(),
        "picture": _picture(source, row),
    }


def _picture(source: ImageSource, row: int) -> str:
    """A JPEG; empty where the file can no longer be read."""
    try:
        image = source.read(row)
    except UnreadableImage:
        return ""
    image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return base64_text(stream.getvalue())
