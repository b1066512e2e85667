"""A report as one HTML file, which needs neither network nor server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from retdm.display.html import base64_text, rendered
from retdm.files import atomic
from retdm.report.groups import Group, split_names
from retdm.report.tables import Table
from retdm.runs.folder.paths import shown

TEMPLATES = Path(__file__).with_name("templates")
SHOWN_WIDTH = 900  # pixels; figures have twice as many, for screens that show them


def write_page(path: Path, groups: list[Group], tables: list[Table], notes: list[str], figures: list[Path]) -> None:
    """Write the page whole or not at all.

    Args:
        path: of the HTML file; its folder is made where it is not there.
        groups: whose settings and folders are listed.
        notes: lines of text below tables and figures, such as runs that are not finished; code between backticks.
        figures: PNG files, whose ``Title`` and ``Description`` become alternative text and caption.
    """
    with atomic(path) as part:
        part.write_bytes(page(groups, tables, notes, figures))


def page(groups: Sequence[Group], tables: Sequence[Table], notes: Sequence[str], figures: Sequence[Path]) -> bytes:
    """The page as HTML. Everything that comes from data is escaped; there is no script."""
    return rendered(
        TEMPLATES / "runs.html",
        summary=_summary(groups),
        tables=tables,
        figures=[_figure(path) for path in figures],
        notes=notes,
        groups=[_group(group) for group in groups],
    )


def _summary(groups: Sequence[Group]) -> str:
    runs = _count(sum(len(group.runs) for group in groups), "finished run")
    data = list(dict.fromkeys(group.data for group in groups))
    return f"{runs} in {_count(len(groups), 'group')}" + (f" on {', '.join(data)}" if data else "")


def _count(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def _figure(path: Path) -> dict[str, Any]:
    with Image.open(path) as image:
        width, height = image.size
        about = dict(image.info)
    scale = min(1, SHOWN_WIDTH / width)
    return {
        "title": about.get("Title", path.stem),
        "caption": about.get("Description", ""),
        "width": round(width * scale),
        "height": round(height * scale),
        "content": base64_text(path.read_bytes()),
    }


def _group(group: Group) -> dict[str, Any]:
    minutes = [run.minutes for run in group.runs if run.minutes is not None]
    sizes = group.runs[0].sizes
    settings: list[tuple[str, Any]] = [
        ("run on", split_names(group.split_folds, group.folds)),
        ("images", ", ".join(f"{part} {n:,}" for part, n in sizes.items())),
        *group.varied.items(),
    ]
    spent = f" of {sum(minutes) / len(minutes):.1f} minutes" if minutes else ""
    return {
        "name": group.name,
        "runs": _count(len(group.runs), "run") + spent,
        "settings": [(name, value) for name, value in settings if value != ""],
        "folders": [shown(run.folder) for run in group.runs],
    }
