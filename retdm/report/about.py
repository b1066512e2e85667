"""What a report says beside its results: of the data, of runs that are in no table, of where all comes from."""

from collections.abc import Sequence
from datetime import date

from retdm.report.groups import Group, cut_names
from retdm.report.paper import paper_datasets
from retdm.report.read import Run
from retdm.report.tables import Table, number
from retdm.runs.folder import RunFolder, read_json, shown

COMMANDS = 6  # named in full


def left_out(runs: Sequence[Run], groups: Sequence[Group]) -> list[str]:
    """A line for each run that is in no table, with the reason, and for each of which two results lie in its folder."""
    used = {run.folder for group in groups for run in group.runs}
    lines = []
    for run in runs:
        if run.damage is not None:
            lines.append(f"Left out: {shown(run.folder)} is damaged: {run.damage}")
            continue
        name = f"{shown(run.folder)} ({run.data} · {run.method} · {run.backbone}, {cut_names([run.cut], run.folds)})"
        if run.state == "failed":
            lines.append(f"Left out: {name} failed: {' '.join((run.error or '').splitlines()[:1])}")
        elif run.state == "unfinished":
            lines.append(f"Left out: {name} is not finished; its command continues it.")
        elif run.folder not in used:
            lines.append(f"Left out: {name} has the settings and the split of another run.")
        elif changed := judged_otherwise(run):
            lines.append(f"{name}: test.py found {changed}; the tables have metrics.json.")
    return lines


def judged_otherwise(run: Run) -> str:
    """Where ``test.json`` is not what ``metrics.json`` says, the criterion that differs most; else nothing."""
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
    """The papers' table of data sets, of the sets that the runs learn from, as far as their folders tell."""
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
    return Table("Data", columns, rows, notes=["Labels an image: of our rows, in the test part of one run."])


def _labels_an_image(run: Run) -> str:
    """Mean over the test part's images of the labels that are known to be there."""
    arrays = run.predictions()
    return number(float((arrays["target"] * arrays["known"]).sum(axis=1).mean()), 2)


def origin(groups: Sequence[Group]) -> list[str]:
    """What made the tables: commands, machines, days."""
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
