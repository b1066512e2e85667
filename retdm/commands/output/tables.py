"""The tables that a run prints at its end."""

from collections.abc import Sequence
from typing import Any

from retdm.criteria import CRITERIA, INSTANCE_CRITERIA
from retdm.criteria.retrieval import Retrieval
from retdm.display.screen import blocks, console
from retdm.display.text import printable
from retdm.runs.folder.paths import RunFolder, shown

Rows = tuple[list[str], list[list[str]]]
"""Print a table: headings, and rows with as many cells."""


OF_BANDS = ("C-F1", "mAP")  # that are shown of frequent and of rare labels


def number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def between(interval: Sequence[float] | None) -> str:
    """Low and high end of an interval; nothing where there is none."""
    return "" if interval is None else f"{number(interval[0], 3)} to {number(interval[1], 3)}"


def criteria_table(report: dict[str, Any]) -> Rows:
    """Criteria of the test split under both rules, the first with its intervals, and of the validation split."""
    titles = {
        "test": "test",
        "test_validation_threshold": f"test at threshold {number(report['threshold'], 2)}",
        "validation": "validation",
    }
    columns = {key: title for key, title in titles.items() if report[key] is not None}
    names = (*CRITERIA, *(name for name in INSTANCE_CRITERIA if name in report["test"]))
    rows = []
    for name in names:
        cells = [number(report[key][name]) if name in report[key] else "" for key in columns]
        rows.append([name, cells[0], between(report["intervals"]["test"].get(name)), *cells[1:]])
    first, *others = columns.values()
    return ["criterion", first, f"{100 * report['intervals']['level']:g} % interval", *others], rows


def bands_table(report: dict[str, Any]) -> Rows:
    """Criteria of the test split by how often a label is positive in training; no row where all labels are alike."""
    bands = {name: band for name, band in report["bands"].items() if band["labels"]}
    rows = []
    for name, band in bands.items():
        row = [f"{name} ({limits(*band['positives'])})", str(band["labels"])]
        for key in OF_BANDS:
            interval = between(band["intervals"][key])
            row.append(number(band["criteria"][key], 3) + (f" ({interval})" if interval else ""))
        rows.append(row)
    return ["training images of a label", "labels", *OF_BANDS], rows if len(bands) > 1 else []


def limits(least: int, most: int | None) -> str:
    """``0 to 19``, ``101 and more``."""
    return f"{least} and more" if most is None else f"{least} to {most}"


def per_label_table(report: dict[str, Any]) -> Rows:
    rows = [
        [
            label,
            *(number(row[key], 3) for key in ("P", "R", "F1", "AP")),
            *(str(row[key]) for key in ("positives", "predicted")),
        ]
        for label, row in report["per_label"].items()
    ]
    return ["label", "P", "R", "F1", "AP", "positives", "predicted"], rows


def retrieval_table(found: dict[str, Retrieval]) -> Rows:
    """Criteria of retrieval, a row a kind of query."""
    rows = [
        [
            f"retrieval {name.replace('_', ' ')}",
            number(row["precision_at_10"]),
            number(row["mAP"]),
            str(row["queries"]),
            str(row["without_relevant"]),
        ]
        for name, row in found.items()
    ]
    return ["", "precision at 10", "mAP", "queries", "without relevant image"], rows


def line_of(title: str, report: dict[str, Any]) -> str:
    """A run in one line."""
    criteria = "  ".join(f"{name} {number(report['test'][name], 3)}" for name in ("mAP", "O-F1", "average_precision"))
    return f"{title}   {criteria}   {report['seconds'] / 60:.1f} minutes"


def stages_table(history: list[dict[str, Any]]) -> Rows:
    rows = [
        [
            row["stage"],
            str(row["epochs"]),
            f"{row['lr']:.1e}" if "lr" in row else "",
            number(row.get("train_loss")),
            number(row.get("validation_loss")),
            number(row.get("validation_mAP"), 3),
            f"{row['minutes']:.1f}",
        ]
        for row in history
    ]
    return ["stage", "epochs", "lr", "train loss", "validation loss", "validation mAP", "minutes"], rows


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as wide as the terminal."""
    out = console()
    for block in blocks(columns, rows, out.width):
        out.print(block)


def print_report(
    folder: RunFolder,
    title: str,
    report: dict[str, Any],
    *,
    per_label: bool,
    steps: Sequence[tuple[str, str]] = (),
    last: str,
) -> None:
    """The end of a run: stages, criteria, where things are, what to try next.

    Args:
        folder: of the run.
        title: its first line.
        report: the content of ``metrics.json``.
        per_label: criteria of each label, too.
        steps: commands to try next, and what each is for.
        last: the last line.
    """
    out = console()
    out.print()
    out.print(printable(title), style="bold", soft_wrap=True)
    if report.get("stages"):
        print_table(*stages_table(report["stages"]))
        out.print()
    print_table(*criteria_table(report))
    if (bands := bands_table(report))[1]:
        out.print()
        print_table(*bands)
    if per_label:
        out.print()
        print_table(*per_label_table(report))
    if report.get("retrieval"):
        out.print()
        print_table(*retrieval_table(report["retrieval"]))
    left_out = {name: count for name, count in report["left_out"].items() if count}
    if left_out:
        out.print("left out: " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in left_out.items()))
    out.print()
    for name, place, there in (
        ("checkpoint", shown(folder.best), True),
        ("pictures", shown(folder.pictures), folder.pictures.exists()),
        ("curves", f"tensorboard --logdir {shown(folder.path)}", (folder.path / "tensorboard").exists()),
        ("page", f"{shown(folder.page)}   # open it in a browser", folder.page.exists()),
    ):
        if there:
            print(f"{name:<11}{place}")
    for number, (command, purpose) in enumerate(steps):
        print(f"{'' if number else 'next':<11}{printable(command)}   # {purpose}")
    print(last, flush=True)  # a contract: plain, never wrapped
