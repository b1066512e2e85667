"""Tables of the criteria's intervals: how much results would move with other test images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from retdm.criteria import CRITERIA
from retdm.report.groups import Group
from retdm.report.read import Run
from retdm.report.results import by_task, heading, own_name, readable
from retdm.report.tables import Table, number
from retdm.settings.types import fits


def intervals_in(run: Run) -> dict[str, list[float] | None]:
    """Low and high end by criterion, as ``metrics.json`` has them; empty in a run of an older version."""
    recorded: Any = (run.metrics or {}).get("intervals")
    found: Any = recorded.get("test") if isinstance(recorded, dict) else None
    sound = fits(found, dict[str, list[float] | None]) and all(
        ends is None or len(ends) == 2 for ends in found.values()
    )
    return found if sound else {}


def interval_tables(groups: Sequence[Group]) -> list[Table]:
    """For each task the 95 % intervals of each group, its runs' mean ends; no table where no run has any."""
    tables = []
    for title, members in by_task(groups).items():
        rows = []
        for group in members:
            found = [intervals_in(run) for run in group.runs]
            rows.append([own_name(group), str(sum(map(bool, found))), *(_mean_ends(found, name) for name in CRITERIA)])
        if not any(cell for row in rows for cell in row[2:]):
            continue
        notes = [
            "Bootstrap over test images, of each run alone: how much its result would move with other test images of "
            "the same kind, not with another training or split. Of several runs the means of the ends."
        ]
        columns = ["", "runs", *map(heading, CRITERIA)]
        tables.append(readable(Table(f"{title}: 95 % intervals on the test split", columns, rows, notes=notes)))
    return tables


def _mean_ends(found: Sequence[dict[str, list[float] | None]], name: str) -> str:
    ends = [each[name] for each in found if each.get(name) is not None]
    if not ends:
        return ""
    low, high = np.mean(ends, axis=0)  # type: ignore[arg-type]
    return f"{number(low)} to {number(high)}"
