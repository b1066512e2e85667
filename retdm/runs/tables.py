"""What a run prints at its end."""

from typing import Any

from rich.console import Console
from rich.table import Table

from retdm.criteria import CRITERIA, INSTANCE_CRITERIA
from retdm.runs.folder import RunFolder, shown


def number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def console() -> Console:
    """Wide enough for the tables when nobody watches, else as wide as the terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=120)


def criteria_table(report: dict[str, Any]) -> Table:
    """Criteria of the test part under both rules beside those of the validation part."""
    table = Table(box=None, pad_edge=False)
    titles = {
        "test": "test",
        "test_validation_threshold": f"test at threshold {number(report['threshold'], 2)}",
        "validation": "validation",
    }
    columns = {key: title for key, title in titles.items() if report[key] is not None}
    table.add_column("criterion")
    for title in columns.values():
        table.add_column(title, justify="right")
    for name in (*CRITERIA, *(name for name in INSTANCE_CRITERIA if name in report["test"])):
        table.add_row(name, *(number(report[key][name]) if name in report[key] else "" for key in columns))
    return table


def per_label_table(report: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("label", "P", "R", "F1", "AP", "positives", "predicted"):
        table.add_column(title, justify="left" if title == "label" else "right")
    for label, row in report["per_label"].items():
        counts = (str(row[key]) for key in ("positives", "predicted"))
        table.add_row(label, *(number(row[key], 3) for key in ("P", "R", "F1", "AP")), *counts)
    return table


def line_of(title: str, report: dict[str, Any]) -> str:
    """A run in one line."""
    criteria = "  ".join(f"{name} {number(report['test'][name], 3)}" for name in ("mAP", "O-F1", "average_precision"))
    return f"{title}   {criteria}   {report['seconds'] / 60:.1f} minutes"


def stages_table(history: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("stage", "epochs", "lr", "train loss", "validation loss", "validation mAP", "minutes"):
        table.add_column(title, justify="left" if title == "stage" else "right")
    for row in history:
        table.add_row(
            row["stage"],
            str(row["epochs"]),
            f"{row['lr']:.1e}",
            number(row.get("train_loss")),
            number(row.get("validation_loss")),
            number(row.get("validation_mAP"), 3),
            f"{row['minutes']:.1f}",
        )
    return table


def print_report(folder: RunFolder, title: str, report: dict[str, Any], *, per_label: bool, next_command: str) -> None:
    """The end of a run: stages, criteria, where things are, which command comes next."""
    out = console()
    out.print()
    out.print(title, style="bold")
    if report.get("stages"):
        out.print(stages_table(report["stages"]))
        out.print()
    out.print(criteria_table(report))
    if per_label:
        out.print()
        out.print(per_label_table(report))
    left_out = {name: count for name, count in report["left_out"].items() if count}
    if left_out:
        out.print("left out: " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in left_out.items()))
    out.print()
    for name, place in (
        ("checkpoint", shown(folder.best)),
        ("pictures", shown(folder.pictures)),
        ("curves", f"tensorboard --logdir {shown(folder.path)}"),
        ("next", next_command),
    ):
        if name == "pictures" and not folder.pictures.exists():  # a fitted method draws none
            continue
        # The last line is a contract: plain, never wrapped.
        print(f"{name:<11}{place}" if name != "next" else place, flush=True)
