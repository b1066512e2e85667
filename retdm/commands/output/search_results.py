"""The files of a search: ``search.csv``, ``search.json`` and the page ``search.html``."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from retdm.commands.output.gallery import SIDE
from retdm.display.html import base64_text, rendered
from retdm.display.text import path_cell, printable, safe_cell
from retdm.runs.trained.image_files import Unread


class Query(NamedTuple):
    """What is searched: a label set, or an image with its thumbnail (JPEG)."""

    labels: list[str]
    image: Path | None = None
    thumbnail: bytes = b""

    @property
    def words(self) -> str:
        return ", ".join(self.labels) if self.image is None else str(self.image)


class Hit(NamedTuple):
    """An image that was found.

    Attributes:
        name: its file, or its name in the data set.
        distance: from the query.
        labels: that it is known to have; None where nobody said.
        thumbnail: JPEG.
    """

    name: str
    distance: float
    labels: list[str] | None
    thumbnail: bytes


class NearSet(NamedTuple):
    """A label set of the training split: its labels, its distance from the query, and how many images have it."""

    labels: list[str]
    distance: float
    images: int

    @property
    def words(self) -> str:
        return ", ".join(self.labels) or "no label"


class Results(NamedTuple):
    """A search before it is written.

    Attributes:
        run: folder of the run.
        searched: where it looked, in words.
        hits, sets: the nearest first.
        unread: files that could not be read.
    """

    run: Path
    query: Query
    searched: str
    hits: list[Hit]
    sets: list[NearSet]
    unread: Sequence[Unread]


def search_files(results: Results) -> tuple[bytes, bytes]:
    """``search.csv``, a row an image; ``search.json``, with the label sets and the files that could not be read too.

    A spreadsheet runs no cell of the table; the names in the JSON are not changed.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    known = bool(results.hits) and results.hits[0].labels is not None
    table.writerow(["path", "distance", "labels"] if known else ["path", "distance"])
    images: list[dict[str, Any]] = []
    for hit in results.hits:
        cells = [";".join(map(safe_cell, hit.labels))] if hit.labels is not None else []
        table.writerow([path_cell(Path(hit.name)), f"{hit.distance:.6g}", *cells])
        images.append({"path": hit.name, "distance": hit.distance})
        if hit.labels is not None:
            images[-1]["labels"] = hit.labels
    query = results.query
    report = {
        "run": printable(results.run),
        "query": {"labels": query.labels} if query.image is None else {"image": str(query.image)},
        "searched": results.searched,
        "images": images,
        "label_sets": [each._asdict() for each in results.sets],
        "unreadable": [{"path": str(file), "reason": reason} for file, reason in results.unread],
    }
    content = json.dumps(report, indent=1, allow_nan=False) + "\n"
    return text.getvalue().encode(errors="surrogateescape"), content.encode()  # a file's name need not be UTF-8


def search_page(results: Results) -> bytes:
    """The page as HTML, which needs neither network nor server."""
    query = results.query
    return rendered(
        Path(__file__).with_name("search.html"),
        query=printable(query.words),
        query_image=base64_text(query.thumbnail),
        side=SIDE,
        searched=results.searched,
        run=printable(results.run),
        sets=[(printable(each.words), f"{each.distance:.3f}", f"{each.images:,}") for each in results.sets],
        hits=[
            (
                printable(hit.name),
                f"{hit.distance:.3f}",
                None if hit.labels is None else printable(", ".join(hit.labels) or "no label"),
                base64_text(hit.thumbnail),
            )
            for hit in results.hits
        ],
    )
