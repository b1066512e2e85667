"""Notes of a report beside its results: the data, the runs that are in no table, the origin of the rest."""

from collections.abc import Sequence
from datetime import date

from retdm.report.groups import Group, split_names
from retdm.report.paper import paper_datasets
from retdm.report.read import Run
from retdm.report.tables import Table, number
from retdm.runs.folder.paths import RunFolder, read_json, shown

COMMANDS = 6  # named in full


def left_out(runs: Sequence[Run], groups: Sequence[Group]) -> list[str]:
    """A line for each run that is in no table, with the reason, and for each with two results that differ."""
    used = {run.folder for group in groups for run in group.runs}
    lines = []
    for run in runs:
        if run.damage is not None:
            lines.append(f"Left out: {shown(run.folder)} is damaged: {run.damage}")
            continue
        split = split_names([run.split_fold], run.folds)
        name = f"{shown(run.folder)} ({run.data} · {run.method} · {run.backbone}, {split})"
        if run.state == "failed":
            lines.append(f"Left out: {name} failed: {' '.join((run.error or '').splitlines()[:1])}")
        elif run.state == "unfinished":
            lines.append(f"Left out: {name} is not finished; its command continues it.")
        elif run.folder not in used:
            lines.append(f"Left out: {name} has the settings and the split of another run.")
        elif changed := differing_test(run):
            lines.append(f"{name}: test.py found {changed}; the tables have metrics.json.")
    return lines


def differing_test(run: Run) -> str:
    """The criterion in which ``test.json`` differs most from ``metrics.json``; nothing where they agree."""
    again = read_json(RunFolder(run.folder).test)
    if again is None or run.metrics is None:
        return ""
    pairs = {
        name: (value, again["test"][name])
        for name, value in run.metrics["test"].items()
        if value is not None and again["test"].get(name) is not None
    }
    if not pairs:
        return ""
    name, (first, second) = max(pairs.items(), key=lambda item: abs(item[1][0] - item[1][1]))
    return f"{name} {number(second)} where metrics.json has {number(first)}" if abs(first - second) > 1e-4 else ""


def dataset_table(runs: Sequence[Run]) -> Table:
    """The papers' table of data sets, for those of the runs, as far as the run folders know them."""
    rows = []
    runs = [run for run in runs if run.damage is None]
    for data in dict.fromkeys(run.data for run in runs):
        found = [run for run in runs if run.data == data and run.state == "finished" and run.sizes]
        for sizes in dict.fromkeys(tuple(run.sizes.values()) for run in found):
            run = next(run for run in found if tuple(run.sizes.values()) == sizes)
            train, validation, test = (f"{size:,}" for size in sizes)
            rows.append(
                [
                    data,
                    f"{(run.metrics or {})['images']:,}",
                    str(len(run.labels)),
                    _labels_an_image(run),
                    f"{train} + {validation}",
                    test,
                ]
            )
        rows += [
            [
                f"{data}, {said['short']}",
                f"{said['images']:,}",
                str(said["labels"]),
                number(said["labels_an_image"], 2),
                "",
                "",
            ]
            for said in (paper_datasets() if found else ())
            if data in said["data"]
        ]
    columns = ["data", "images", "labels", "labels an image", "training + validation", "test"]
    return Table("Data", columns, rows, notes=["Labels an image: of our rows, in the test split of one run."])


def _labels_an_image(run: Run) -> str:
    """Mean number of labels of a test image, of those that are known."""
    arrays = run.predictions()
    return number(float((arrays["target"] * arrays["known"]).sum(axis=1).mean()), 2)


def origin(groups: Sequence[Group]) -> list[str]:
    """Origin of the tables: commands, machines, days."""
    runs = [run for group in groups for run in group.runs]
    made = [run.config.get("provenance", {}) for run in runs]
    days = sorted({date.fromtimestamp(RunFolder(run.folder).metrics.stat().st_mtime).isoformat() for run in runs})
    machines = sorted({str(one.get("machine")) for one in made})
    torches = sorted({f"torch {one.get('packages', {}).get('torch')}" for one in made})
    commands = list(dict.fromkeys(str(one.get("command")) for one in made))
    when = " to ".join(dict.fromkeys([days[0], days[-1]]))
    return [
        f"{len(runs)} run{'s' * (len(runs) > 1)}, {when}, on {', '.join(machines)}, {', '.join(torches)}.",
        *(f"`{command}`" for command in commands[:COMMANDS]),
        *([f"and {len(commands) - COMMANDS} commands more"] if len(commands) > COMMANDS else []),
    ]
