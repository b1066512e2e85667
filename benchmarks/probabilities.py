"""What calibration and rules with a guarantee give on test: means over finished runs.

    python benchmarks/probabilities.py <folder> [<folder> …]

For each data set and method among the runs: criteria of the test split's scores as they are and calibrated on what the
run chooses on; and of each rule with a guarantee what was promised, and what the test split gave.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from decisions import mean

from retdm.commands.decide import PROBABILITIES
from retdm.commands.output.tables import print_table
from retdm.decisions.calibration import KINDS
from retdm.decisions.rules import ConformalRule, rule_of
from retdm.errors import UserError
from retdm.report.read import Run, find_runs
from retdm.report.redecide import Redecided, recalibrated, redecided

PROMISES = ("missed:.2", "missed:.1", "missed:.05", "extra:.1", "extra:.05", "extra:.02")


def calibrations(runs: Sequence[Run]) -> list[list[str]]:
    """A row a kind of calibration."""
    found = [recalibrated(run, KINDS)[0] for run in runs]
    rows = []
    for j, kind in enumerate(("none", *KINDS)):
        rows.append([kind, *(mean([each[j].criteria[name] for each in found]) for name in PROBABILITIES)])
    return rows


def guarantees(runs: Sequence[Run]) -> list[list[str]]:
    """A row a rule."""
    rows = []
    for name in PROMISES:
        rule = rule_of(name)
        assert isinstance(rule, ConformalRule)
        try:
            found: list[Redecided] = [redecided(run, [name])[0][-1] for run in runs]
        except UserError:  # too few images, or not those of the validation split
            rows.append([rule.name, "refused", "", "", ""])
            continue
        tested = [row.test.overall for row in found if row.test is not None and row.test.overall is not None]
        chosen = [row.chosen.overall for row in found if row.chosen is not None]
        kept = sum(each <= rule.most for each in tested)
        size = np.mean([row.criteria["O-P"] or 0 for row in found])
        rows.append([rule.name, mean(chosen), mean(tested), f"{kept} of {len(tested)}", f"{size:.3f}"])
    return rows


def main() -> None:
    """Print two tables a data set and method."""
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in find_runs([Path(each) for each in sys.argv[1:]]):
        if run.state == "finished":
            groups[run.data, run.method].append(run)
    for (data, method), runs in groups.items():
        chosen_on = recalibrated(runs[0], KINDS[:1])[1]
        print(
            f"{data}, {method}: {len(runs)} runs, chosen on {len(chosen_on.rows['index'])} images ({chosen_on.source})"
        )
        print_table(["calibrate", *PROBABILITIES], calibrations(runs))
        print_table(["rule", "where chosen", "test", "runs that kept it", "O-P"], guarantees(runs))
        print(flush=True)


if __name__ == "__main__":
    main()
