"""A report's tables on the screen, as Markdown and as CSV."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retdm.criteria import CRITERIA
from retdm.display.screen import console
from retdm.display.text import as_markdown, printable, safe_cell
from retdm.report.groups import Group
from retdm.report.paper import paper_tables
from retdm.report.tables import Table

PARTS = ("test", "test_validation_threshold", "validation")


def show(tables: Sequence[Table], notes: Sequence[str]) -> None:
    """Print for a terminal of any width; 120 characters where there is none."""
    out = console()
    for table in tables:
        for block in table.rich(out.width):
            out.print(block)
        for note in table.notes:
            out.print(f"- {printable(note)}", soft_wrap=True)
        out.print()
    for note in notes:
        out.print(printable(note), soft_wrap=True)


def markdown(tables: Sequence[Table], notes: Sequence[str], pictures: Sequence[Path]) -> str:
    """The report as GitHub shows it."""
    parts = [table.markdown() for table in tables]
    parts += [f"![{path.stem}]({path.as_posix()})\n" for path in pictures]
    return "\n".join([*parts, "\n".join(f"- {as_markdown(note)}" for note in notes), ""])


def csv_of(groups: Sequence[Group]) -> str:
    """Every criterion of every group, unrounded; then the papers' rows of the same data, as printed."""
    names = list(dict.fromkeys([*CRITERIA, *(name for group in groups for name in group.criteria())]))
    first = ["source", "data", "method", "backbone", "setting", "part", "runs", "splits", "minutes"]
    file = io.StringIO()
    out = csv.DictWriter(file, [*first, *(f"{name}{kind}" for name in names for kind in ("", " std"))], restval="")
    out.writeheader()
    for group in groups:
        minutes = [run.minutes for run in group.runs if run.minutes is not None]
        row: dict[str, Any] = {"source": "ours", "data": group.data, "method": group.method, "backbone": group.backbone}
        row["setting"] = " ".join(f"{key}={value}" for key, value in group.varied.items())
        row = {key: safe_cell(text) for key, text in row.items()}
        row |= {"runs": len(group.runs), "splits": " ".join(map(str, dict.fromkeys(group.splits)))}
        row["minutes"] = sum(minutes) / len(minutes)
        for part in PARTS:
            values: dict[str, Any] = {}
            for name, (mean, std) in group.mean_std(part).items():
                values |= {name: _cell(mean), f"{name} std": _cell(std)}
            out.writerow(row | {"part": part} | values)
    for paper in paper_tables():
        for data in dict.fromkeys(group.data for group in groups if group.data in paper.data):
            for printed in paper.rows:
                row = {"source": paper.short, "data": data, "method": printed.method, "part": "test"}
                row |= {"runs": paper.protocol["runs"], "backbone": paper.backbone_of(printed.method)}
                out.writerow(row | printed.mean | {f"{name} std": value for name, value in printed.std.items()})
    return file.getvalue()


def _cell(value: float) -> float | str:
    return "" if math.isnan(value) else value
