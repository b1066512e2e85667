"""What decision rules chosen on validation give on test: means over finished runs, and how often a floor was met.

    python benchmarks/decisions.py <folder> [<folder> …]

For each data set among the runs below the folders a table of criteria of the test split by rule, and for rules with a
floor in how many runs it was met over all cells, and by how many labels on average.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retdm.commands.decide import SHOWN
from retdm.commands.output.tables import print_table
from retdm.decisions.rules import FloorRule
from retdm.report.read import Run, find_runs
from retdm.report.redecide import Reached, Redecided, redecided


def mean(values: Sequence[float | None]) -> str:
    """Mean and standard deviation of the defined values."""
    found = [value for value in values if value is not None]
    spread = f" ± {np.std(found, ddof=1):.3f}" if len(found) > 1 else ""
    return f"{np.mean(found):.3f}{spread}" if found else "–"


def met(found: Sequence[Reached | None], least: float) -> list[str]:
    """Mean of precision or recall over all cells, runs that meet the floor, and labels that do so on average."""
    there = [each for each in found if each is not None]
    runs = sum(each.overall is not None and each.overall >= least for each in there)
    meet, labels = (np.mean([getattr(each, name) for each in there]) for name in ("meet", "labels"))
    return [mean([each.overall for each in there]), f"{runs} of {len(there)}", f"{meet:.1f} of {labels:.1f}"]


def tables(data: str, runs: Sequence[Run]) -> None:
    rules: dict[str, list[Redecided]] = defaultdict(list)
    images = []
    for run in runs:
        found, chosen_on = redecided(run)
        images.append(0 if chosen_on is None else len(chosen_on.rows["index"]))
        for row in found:
            rules[row.rule.name].append(row)
    print(f"{data}: {len(runs)} runs, {len(runs[0].labels)} labels, chosen on {min(images)} to {max(images)} images")
    rows = [[name, *(mean([row.criteria[each] for row in found]) for each in SHOWN)] for name, found in rules.items()]
    print_table(["rule", *SHOWN], rows)
    floors = [(name, found, found[0].rule) for name, found in rules.items()]
    columns = ["rule", "where chosen", "runs that met it", "labels", "test", "runs that met it", "labels"]
    of_floors = [
        [name, *met([row.chosen for row in found], rule.least), *met([row.test for row in found], rule.least)]
        for name, found, rule in floors
        if isinstance(rule, FloorRule)
    ]
    print_table(columns, of_floors)
    print()


def main() -> None:
    by_data: dict[str, list[Run]] = defaultdict(list)
    for run in find_runs([Path(each) for each in sys.argv[1:]]):
        if run.state == "finished":
            by_data[run.data].append(run)
    for data, runs in by_data.items():
        tables(data, runs)


if __name__ == "__main__":
    main()
