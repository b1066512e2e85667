"""Two runs on the same test images: the difference between them by the paired bootstrap over these images."""

from collections.abc import Mapping, Sequence

import numpy as np

from retdm.criteria import Difference, Resampled, paired_difference, resample
from retdm.errors import UserError
from retdm.report.decisions import decided_by, decides
from retdm.report.groups import Group, split_names
from retdm.report.read import Run
from retdm.report.results import by_task, heading, own_name
from retdm.report.tables import Table, number
from retdm.report.uncertainty.significance import MOST_GROUPS, pairs_of
from retdm.runs.folder.paths import STATE, RunFolder, read_json, shown


def paired_bootstrap(
    first: Run, second: Run, criteria: Sequence[str], found: dict[str, Resampled] | None = None
) -> dict[str, Difference | None]:
    """First minus second by criterion, None where it is undefined; see :func:`retdm.criteria.paired_difference`.

    Args:
        first, second: finished runs on the same test images.
        criteria: their names.
        found: keeps the resamples of each run by its folder, for other pairs with it.

    Raises:
        UserError: the runs test other images, of other data or with other labels, or one left no predictions.
    """
    check_same_test(first, second)
    kept = {} if found is None else found
    for run in (first, second):
        if str(run.folder) not in kept:
            kept[str(run.folder)] = _resampled(run)
    one, other = (kept[str(run.folder)].criteria for run in (first, second))
    return {name: paired_difference(one[name], other[name]) if name in one else None for name in criteria}


def check_same_test(first: Run, second: Run) -> None:
    """Check that two finished runs have the same test images of the same data, with the same labels.

    Raises:
        UserError: they have not, or one left no predictions.
    """
    pair = f"{shown(first.folder)} and {shown(second.folder)}"
    for run in (first, second):
        if not RunFolder(run.folder).predictions.exists() or not decides(run):
            raise UserError(f"{shown(run.folder)} left no predictions", "run it anew with overwrite=true")
    if first.labels != second.labels:
        raise UserError(f"{pair} have other labels", "compare runs on the same data")
    manifests = [read_json(RunFolder(run.folder).split) or {} for run in (first, second)]
    other = [what for what, key in STATE.items() if manifests[0].get(key) != manifests[1].get(key)]
    if other:
        raise UserError(f"{pair} were made with other {' and '.join(other)}", "compare runs on the same data")
    rows = [run.predictions() for run in (first, second)]
    if not np.array_equal(rows[0]["index"], rows[1]["index"]):
        raise UserError(f"{pair} test other images", "compare runs of the same data.split")
    if not all(np.array_equal(rows[0][key], rows[1][key]) for key in ("target", "known")):
        raise UserError(f"{pair} have other true labels", "compare runs on the same data")


def _resampled(run: Run) -> Resampled:
    rows = run.predictions()
    try:
        return resample(rows["scores"], rows["target"], rows["known"], decided_by(run, rows))
    except ValueError as error:
        raise UserError(f"{shown(RunFolder(run.folder).predictions)} cannot be evaluated: {error}") from error


def paired_tables(
    groups: Sequence[Group], criteria: Sequence[str], baseline: str | None = None
) -> tuple[list[Table], list[str]]:
    """A table for each task of two groups or more that share a split: each pair on the first split that both have.

    Args:
        groups: of one task every pair of up to four is compared, of more each with the baseline, or none. Two single
            runs are compared whatever their settings, where their test images are the same.
        criteria: what is compared.
        baseline: see :func:`retdm.report.uncertainty.significance.significance_tables`.

    Returns:
        The tables, and a line for each pair that cannot be compared image by image, with the reason.
    """
    tables, unlike = [], []
    runs = [run for group in groups for run in group.runs]
    tasks, name_of = by_task(groups), own_name
    if len(runs) == len(groups) == 2 and len(tasks) == 2:  # whoever names two runs wants to hear of both
        tasks, name_of = {groups[0].data: list(groups)}, _whole_name
    for title, members in tasks.items():
        found: dict[str, Resampled] = {}
        rows: list[list[str]] = []
        bold: set[tuple[int, int]] = set()
        if baseline is None and len(members) > MOST_GROUPS:
            continue
        differences: dict[tuple[str, str], Mapping[str, Difference | None]] = {}
        for criterion in criteria:
            for first, second in pairs_of(members, criterion, baseline):
                pair = f"{name_of(first)} − {name_of(second)}"
                shared = sorted(set(first.split_folds) & set(second.split_folds))
                if not shared:
                    continue
                one, other = (each.runs[each.split_folds.index(shared[0])] for each in (first, second))
                try:
                    key = (first.name, second.name)
                    if key not in differences:
                        differences[key] = paired_bootstrap(one, other, criteria, found)
                except UserError as error:
                    differences[key] = {}
                    unlike.append(f"Not compared image by image: {error.message}.")
                if (difference := differences[key].get(criterion)) is not None:
                    if difference.p < 0.05:
                        bold.add((len(rows), 4))
                    where = split_names(shared[:1], first.folds)
                    rows.append([pair, heading(criterion), *_cells(difference), f"{one.sizes.get('test', '')}", where])
        if rows:
            columns = ["difference", "criterion", "value", "95 % interval", "p", "test images", "of"]
            notes = [
                "Paired bootstrap over the test images of one split, 2,000 resamples, each of the same images for both "
                "runs; bold: p < .05. It knows of these images alone; two trainings on other images differ too, which "
                "the t-test over several splits takes in."
            ]
            tables.append(Table(f"{title}: do two runs differ on the same test images?", columns, rows, bold, notes))
    if len(runs) == 2 and not tables and not unlike:
        unlike += _reason(*runs)
    return tables, unlike


def _whole_name(group: Group) -> str:
    """With the settings that make another task of it."""
    return group.name.removeprefix(f"{group.data} · ")


def _reason(first: Run, second: Run) -> list[str]:
    """Why two runs alone are not compared, such as two splits of one method."""
    try:
        check_same_test(first, second)
    except UserError as error:
        return [f"Not compared image by image: {error.message}."]
    return []


def _cells(found: Difference) -> list[str]:
    low, high = found.interval
    return [number(found.value, 4), f"{number(low, 4)} … {number(high, 4)}", number(found.p)]
