"""The worst mistakes of a run, and the pictures that it left. Notation: n images, L labels."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retdm.criteria import worst_decisions
from retdm.display.html import base64_text
from retdm.display.text import printable
from retdm.report.one_run.evaluated import Evaluated
from retdm.report.read import Run
from retdm.report.tables import number
from retdm.runs.folder.paths import RunFolder, read_json
from retdm.settings.types import fits

MOST = 48
MOST_NEAR = 3  # training images beside a mistake
NAMED = 8  # labels of one image in a column
LARGE = 400_000  # bytes above which a picture of the run becomes a JPEG
WIDEST = 1800  # pixels


class Named(NamedTuple):
    """A label of an image: its name, its score, and whether the decision on it was wrong."""

    label: str
    score: str
    wrong: bool


class Near(NamedTuple):
    """A training image that lies near a mistake.

    Attributes:
        name: of the image.
        picture: small JPEG as base64; empty where the run left none.
        distance: as text.
        labels: its labels, and of each how the mistake got it wrong: ``missed``, ``extra``, or nothing.
    """

    name: str
    picture: str
    distance: str
    labels: list[tuple[str, str]]


class Mistake(NamedTuple):
    """A test image whose label set was decided wrongly.

    Attributes:
        name: of the image.
        picture: small JPEG as base64; empty where the run left none.
        true, predicted: at most ``NAMED`` labels of it, by score.
        more_true, more_predicted: how many further ones there are.
        missed, added: places of its wrongly decided labels.
        near: the training images nearest to it, the nearest first; none where the run left none.
    """

    name: str
    picture: str
    true: list[Named]
    predicted: list[Named]
    more_true: int
    more_predicted: int
    missed: list[int]
    added: list[int]
    near: list[Near]


def worst(run: Run, of: Evaluated) -> list[Mistake]:
    """The test images whose decisions are most wrong by score, at most ``MOST``."""
    names = (read_json(RunFolder(run.folder).split) or {}).get("test", [])
    nearest = read_json(RunFolder(run.folder).nearest)
    found = []
    for i in worst_decisions(of.scores, of.target, of.known, of.predicted, MOST).tolist():
        index = int(of.index[i])
        true, given = of.target[i], of.predicted[i] & of.known[i]
        missed, added = (np.flatnonzero(each).tolist() for each in (true & ~given, given & ~true))
        found.append(
            Mistake(
                printable(str(names[i])) if len(names) == len(of.index) else f"row {index}",
                _jpeg(RunFolder(run.folder).mistakes / f"{index}.jpg"),
                _named(run.labels, of.scores[i], true, given),
                _named(run.labels, of.scores[i], given, true),
                max(0, int(true.sum()) - NAMED),
                max(0, int(given.sum()) - NAMED),
                missed,
                added,
                _near(
                    run,
                    nearest,
                    index,
                    {run.labels[j]: "missed" for j in missed} | {run.labels[j]: "extra" for j in added},
                ),
            )
        )
    return found


def _named(
    labels: list[str], scores: NDArray[np.float64], own: NDArray[np.bool_], other: NDArray[np.bool_]
) -> list[Named]:
    """At most ``NAMED`` of an image's ``own`` labels (L,), those that ``other`` has not before the rest, by score."""
    order = np.lexsort((-scores, other))
    shown = [j for j in order.tolist() if own[j]][:NAMED]
    return [Named(labels[j], number(scores[j], 2), not other[j]) for j in shown]


def _near(run: Run, nearest: Any, index: int, wrong: Mapping[str, str]) -> list[Near]:
    """The training images that ``nearest.json`` of a run names for a mistake, as far as it is what a run writes."""
    found: Any = nearest.get(str(index)) if isinstance(nearest, dict) else None
    if not fits(found, list[dict[str, Any]]):
        return []
    near = []
    for each in found[:MOST_NEAR]:
        row, name, distance, labels = (each.get(key) for key in ("index", "name", "distance", "labels"))
        if fits(row, int) and fits(name, str) and fits(distance, float) and fits(labels, list[str]):
            picture = _jpeg(RunFolder(run.folder).mistakes / f"near-{row}.jpg")
            marked = [(label, wrong.get(label, "")) for label in labels[:NAMED]]
            near.append(Near(printable(name), picture, number(distance, 2), marked))
    return near


def _jpeg(path: Path) -> str:
    """A small JPEG of a run as base64; nothing where there is none."""
    try:
        content = path.read_bytes() if path.stat().st_size <= LARGE else b""
    except OSError:
        return ""
    return base64_text(content) if content.startswith(b"\xff\xd8\xff") else ""


class Picture(NamedTuple):
    """A picture that the run drew: title, caption, content as a data URL, width and height in the page's pixels."""

    title: str
    caption: str
    url: str
    width: int
    height: int


def embedding(run: Run) -> Picture | None:
    """The projection of the embedding that the run drew last; None where it drew none."""
    path = RunFolder(run.folder).pictures / f"embedding-{_last_stage(run)}.png"
    caption = (
        "Validation images in the space that the method learned, along the two directions in which they vary most. "
        "Each has the colour of its label set; images that lie together look alike to the method."
    )
    return _picture(path, "The embedding", caption)


def heat_maps(run: Run) -> Picture | None:
    """Where the method finds labels in test images; None where it does not score regions."""
    caption = "Test images, and where in them the method finds each of their labels: the brighter, the surer."
    return _picture(RunFolder(run.folder).pictures / "heat_maps.png", "Where labels are found", caption)


def examples(run: Run) -> Picture | None:
    """Images with true and predicted labels that the run drew last; None where it has none."""
    path = RunFolder(run.folder).pictures / f"predictions-{_last_stage(run)}.png"
    caption = (
        "Validation images, chosen by their true labels alone. Hits green, missed labels orange with a minus, extra "
        "ones blue with a plus, each with its score."
    )
    return _picture(path, "Some images that were not chosen for their mistakes", caption)


def _last_stage(run: Run) -> str:
    found = (run.metrics or {}).get("stages")
    stages = [stage.get("stage") for stage in found if isinstance(stage, dict)] if isinstance(found, list) else []
    return str(stages[-1]) if stages else "fitted"


def _picture(path: Path, title: str, caption: str) -> Picture | None:
    """A PNG file of a run, as JPEG where it is large; None where it is not there or cannot be read."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            width, height = image.size
            content, kind = path.read_bytes(), "png"
            if len(content) > LARGE:
                small = image.convert("RGB")
                small.thumbnail((WIDEST, WIDEST * 4))
                stream = io.BytesIO()
                small.save(stream, "JPEG", quality=85)
                content, kind = stream.getvalue(), "jpeg"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for a damaged file
        return None
    scale = min(1, 900 / width)
    return Picture(
        title, caption, f"data:image/{kind};base64,{base64_text(content)}", round(width * scale), round(height * scale)
    )
