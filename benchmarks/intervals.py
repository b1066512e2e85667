"""How often the 95 % intervals of single runs hold the mean over all splits.

    python benchmarks/intervals.py <folder> [<folder> …]

For each group of runs below the folders that differ in their split alone a table of criteria of the test split: their
mean and deviation over the splits, how wide the intervals are on average, how wide a normal interval of the deviation
over splits would be, how many intervals hold the mean, and how many lie on either side of it; then the same count for
the average precision of labels.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retdm.commands.output.tables import print_table
from retdm.criteria import CRITERIA
from retdm.report.groups import Group, group_runs
from retdm.report.one_run.evaluated import Evaluated, evaluated
from retdm.report.read import find_runs

FEW = 10  # test images of a label


def rows_of(found: Sequence[Evaluated]) -> list[list[str]]:
    """A row a criterion that all runs define."""
    rows = []
    for name in CRITERIA:
        values = np.array([each.found["criteria"][name] for each in found], np.float64)
        ends = np.array([each.intervals.criteria[name] or (np.nan, np.nan) for each in found])
        if np.isnan(values).any() or np.isnan(ends).any():
            continue
        mean, std = values.mean(), values.std(ddof=1)
        below, above = int((ends[:, 1] < mean).sum()), int((ends[:, 0] > mean).sum())
        widths = [f"{width:.3f}" for width in (np.diff(ends).mean(), 2 * 1.96 * std)]
        rows.append(
            [
                name,
                f"{mean:.3f} ± {std:.3f}",
                *widths,
                f"{len(found) - below - above} of {len(found)}",
                f"{below}, {above}",
            ]
        )
    return rows


def labels_that_hold(found: Sequence[Evaluated], labels: Sequence[str]) -> list[str]:
    """How many intervals of a label's average precision hold its mean, of labels with few test images and of others."""
    values = np.array([[each.found["per_label"][label]["AP"] for label in labels] for each in found], np.float64)
    positives = np.array([[each.found["per_label"][label]["positives"] for label in labels] for each in found])
    ends = np.stack([each.intervals.per_label["AP"] for each in found])
    holds = (ends[..., 0] <= np.nanmean(values, axis=0)) & (np.nanmean(values, axis=0) <= ends[..., 1])
    lines = []
    for words, inside in ((f"{FEW} test images or more", positives >= FEW), (f"fewer than {FEW}", positives < FEW)):
        there = inside & ~np.isnan(ends[..., 0])
        if there.any():
            share = 100 * holds[there].mean()
            lines.append(f"AP of labels with {words}: {share:.0f} % of {int(there.sum()):,} intervals hold the mean")
    return lines


def table(group: Group) -> None:
    found = [each for run in group.runs if (each := evaluated(run)) is not None]
    images = {len(each.index) for each in found}
    print(f"{group.name}: {len(found)} splits, {'/'.join(map(str, sorted(images)))} test images")
    columns = ["criterion", "mean ± std", "interval's width", "3.92 std", "hold the mean", "lie below, above"]
    print_table(columns, rows_of(found))
    for line in labels_that_hold(found, group.runs[0].labels):
        print(line)
    print()


def main() -> None:
    for group in group_runs(find_runs([Path(each) for each in sys.argv[1:]])):
        if len(set(group.splits)) > 1:
            table(group)


if __name__ == "__main__":
    main()
