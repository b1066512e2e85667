"""Tables of criteria: ours as mean ± standard deviation over splits, the papers' rows for the same data below."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from retdm.criteria import CRITERIA, INSTANCE_CRITERIA, LARGER_IS_BETTER
from retdm.report.groups import Floats, Group, differing, short, split_names
from retdm.report.paper import PaperTable, tables_for
from retdm.report.tables import Table, mean_and_std, number

PAPERS = (
    "C-P", "C-R", "C-F1", "C-F1_of_means", "O-P", "O-R", "O-F1",
    "mAP", "hamming_loss", "ranking_loss", "coverage", "one_error", "average_precision",
)  # fmt: skip
# How a run reads its data, not which images it is trained and tested on.
NOT_THE_TASK = {"data.split", "data.batch_size", "data.image_size", "data.cache_limit", "data._target_"}
EVERY = (*CRITERIA, *INSTANCE_CRITERIA)
AT_THRESHOLD = "At threshold: decided by the one threshold that is best on the validation split."
FOOTNOTES = "¹²³⁴⁵⁶⁷⁸⁹"


def by_task(groups: Iterable[Group]) -> dict[str, list[Group]]:
    """Groups whose results can be compared, of the same data split by the same rule; by title (``scene, size=60``)."""
    same_data: dict[str, dict[tuple[tuple[str, str], ...], list[Group]]] = defaultdict(lambda: defaultdict(list))
    for group in groups:
        key = tuple((name, str(value)) for name, value in _task(group).items())
        same_data[group.data][key].append(group)
    found = {}
    for data, tasks in same_data.items():
        for members, varied in zip(tasks.values(), differing([_task(m[0]) for m in tasks.values()]), strict=True):
            found[", ".join([data, *short(varied)])] = members
    return found


def _task(group: Group) -> dict[str, Any]:
    settings = group.settings
    return {key: settings[key] for key in sorted(settings) if _is_task(key)}


def _is_task(key: str) -> bool:
    return key.startswith("data.") and key not in NOT_THE_TASK


def own_name(group: Group) -> str:
    """A group's name beside others of the same task, without what these share: its data and how they are split."""
    told = [f" · {each}" for each in short(group.varied)]
    kept = [each for each, key in zip(told, group.varied, strict=True) if not _is_task(key)]
    return group.name.removeprefix(f"{group.data} · ").removesuffix("".join(told)) + "".join(kept)


def result_tables(groups: Sequence[Group]) -> list[Table]:
    """For each task the papers' criteria and rows beside ours, where a paper has the set, and all criteria of ours."""
    return [
        table
        for title, members in by_task(groups).items()
        for table in (*_beside_papers(title, members), _all(title, members))
    ]


def summary_tables(groups: Sequence[Group], criteria: Sequence[str]) -> list[Table]:
    """For each task a row a group: a few criteria, decided as its runs decide and at the threshold that is best on
    validation. The backbone is named where they differ in it."""
    tables = []
    for title, members in by_task(groups).items():
        cells = [("test", name) for name in criteria] + [("test_validation_threshold", name) for name in criteria]
        rows, bold = _rows(members, cells)
        if len({group.backbone for group in members}) == 1:
            for row in rows:
                row[0] = row[0].replace(f" · {members[0].backbone}", "", 1)
        again = [j for j, name in enumerate(criteria, 3 + len(criteria)) if not _differs(members, name)]
        kept = [j for j in range(3 + len(cells)) if j not in again]
        columns = [
            "",
            "runs",
            "minutes",
            *map(heading, criteria),
            *(f"{heading(name)} at threshold" for name in criteria),
        ]
        tables.append(
            Table(
                f"{title}: test split",
                [columns[j] for j in kept],
                [[row[j] for j in kept] for row in rows],
                {(i, kept.index(j)) for i, j in bold if j in kept},
                [AT_THRESHOLD] if len(kept) > 3 + len(criteria) else [],
            )
        )
    return tables


def _beside_papers(title: str, groups: Sequence[Group]) -> list[Table]:
    data = groups[0].runs[0].config["data"]
    papers, fits = tables_for(groups[0].data, data)
    if not papers:
        return []
    criteria = _criteria_of(papers)
    rows, bold = _rows(groups, [("test", name) for name in criteria])
    notes = _missing_splits(groups)
    for paper in papers:
        other = "" if fits else " (our runs have another)"
        notes.append(f"{paper.short}: {paper.paper}, {paper.table}; {paper.split}{other}.")
    if (size := data.get("train_size")) is not None:
        notes.append(f"The papers' rows are trained on all training images, ours on {size:,}.")
    theirs, why = _paper_rows(papers, criteria)
    notes += why
    notes += [note for paper in papers for note in (*paper.notes, *map(str, paper.claims))]
    columns = ["", "runs", "minutes", *map(heading, criteria)]
    return [readable(Table(f"{title}: the papers' criteria on the test split", columns, rows + theirs, bold, notes))]


def _criteria_of(papers: Sequence[PaperTable]) -> list[str]:
    """The papers' criteria, with the coverage that the tables have: divided by the number of labels or not."""
    printed = {criterion for paper in papers for criterion in paper.criteria}
    coverage = "coverage_normalised" if "coverage_normalised" in printed else "coverage"
    return [coverage if criterion == "coverage" else criterion for criterion in PAPERS]


def _all(title: str, groups: Sequence[Group]) -> Table:
    """Every criterion, and those that a threshold chosen on validation changes once more under it."""
    names = list(dict.fromkeys(name for group in groups for name in group.criteria()))
    tuned = [name for name in names if _differs(groups, name)]
    cells = [("test", name) for name in names] + [("test_validation_threshold", name) for name in tuned]
    rows, bold = _rows(groups, cells)
    columns = ["", "runs", "minutes", *map(heading, names), *(f"{heading(name)} at threshold" for name in tuned)]
    notes = [AT_THRESHOLD] if tuned else []
    title = f"{title}: all criteria on the test split"
    return readable(Table(title, columns, rows, bold, _missing_splits(groups) + notes))


def _differs(groups: Sequence[Group], name: str) -> bool:
    """A threshold that validation chose changes the criterion of some group."""
    return any(_changes(group.criteria(), group.criteria("test_validation_threshold"), name) for group in groups)


def _changes(first: Mapping[str, Floats], second: Mapping[str, Floats], name: str) -> bool:
    return name in first and name in second and not np.array_equal(first[name], second[name], equal_nan=True)


def _rows(groups: Sequence[Group], cells: Sequence[tuple[str, str]]) -> tuple[list[list[str]], set[tuple[int, int]]]:
    """A row a group with the (part, criterion) of ``cells``, and the places of those with the best mean of several."""
    rows = [[own_name(group), str(len(group.runs)), _minutes(group)] for group in groups]
    bold = set()
    for j, (part, name) in enumerate(cells, 3):
        found = [group.mean_std(part).get(name, (math.nan, math.nan)) for group in groups]
        for row, (mean, std) in zip(rows, found, strict=True):
            row.append(mean_and_std(mean, std))
        means = [mean for mean, _ in found if not math.isnan(mean)]
        if len(groups) > 1 and means and name in EVERY:
            best = number(max(means) if name in LARGER_IS_BETTER else min(means))
            bold |= {(i, j) for i, (mean, _) in enumerate(found) if number(mean) == best}
    return rows, bold


def _minutes(group: Group) -> str:
    minutes = [run.minutes for run in group.runs if run.minutes is not None]
    return f"{sum(minutes) / len(minutes):.1f}" if minutes else ""


def _paper_rows(papers: Sequence[PaperTable], criteria: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """The papers' rows, each method of a paper once, and footnotes on cells that are not comparable."""
    rows: dict[str, list[str]] = {}
    notes: dict[str, str] = {}
    for paper in papers:
        for row in paper.rows:
            name_and_backbone = " · ".join(filter(None, [row.method, paper.backbone_of(row.method)]))
            cells = [f"{paper.short}: {name_and_backbone}", str(paper.protocol["runs"]), ""]
            for name in criteria:
                text = mean_and_std(row.mean.get(name), row.std.get(name))
                caveats = [caveat for caveat in paper.not_comparable if text and caveat.holds(row.method, name)]
                reasons = [f"{', '.join(caveat.criteria)}: {caveat.why}." for caveat in caveats]
                found = [notes.setdefault(why, FOOTNOTES[len(notes)]) for why in reasons]
                cells.append(text + "".join(sorted(found, key=FOOTNOTES.index)))
            rows.setdefault(cells[0], cells)
    return list(rows.values()), [f"{mark} {why}" for why, mark in notes.items()]


def heading(criterion: str) -> str:
    """The criterion with the direction in which it improves."""
    return f"{criterion} {'↑' if criterion in LARGER_IS_BETTER else '↓'}" if criterion in EVERY else criterion


def readable(table: Table) -> Table:
    """The longer side goes down the page."""
    return table.transposed() if len(table.rows) < len(table.columns) else table


def _missing_splits(groups: Sequence[Group]) -> list[str]:
    """A note for each group without the splits or folds that others of the task have."""
    everywhere = sorted({pair for group in groups for pair in group.split_folds})
    missing = [(group, [pair for pair in everywhere if pair not in group.split_folds]) for group in groups]
    return [
        f"{own_name(group)} does not have {split_names(pairs, group.folds)}, which others have."
        for group, pairs in missing
        if pairs
    ]
