"""Where a run comes from: its settings, versions, machine, time and command, and what it warned of."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from retdm.report.groups import flat
from retdm.report.read import Run
from retdm.runs.folder.paths import RunFolder, shown

Entries = list[tuple[str, str]]

NOT_SETTINGS = ("identity", "provenance", "cleared_by", "format")
MOST_ENTRIES, LONGEST = 400, 300  # of a foreign folder, which may hold anything
MOST_WARNINGS = 10


def when(run: Run) -> str:
    """The day on which it was finished: ``29 November 2026``."""
    day = date.fromtimestamp(RunFolder(run.folder).metrics.stat().st_mtime)
    return f"{day.day} {day:%B %Y}"


def command(run: Run) -> str:
    """What was typed."""
    return str(_provenance(run).get("command", ""))


def settings(run: Run) -> Entries:
    """Every setting by its dotted key."""
    content = {key: value for key, value in run.config.items() if key not in NOT_SETTINGS}
    entries = [(str(key)[:LONGEST], _text(value)) for key, value in flat(content).items()]
    return entries[:MOST_ENTRIES]


def made_with(run: Run) -> Entries:
    """Machine, time and versions, as far as they were recorded."""
    made, metrics = _provenance(run), run.metrics or {}
    trainer = run.config.get("trainer")
    trainer = trainer if isinstance(trainer, dict) else {}
    packages = made.get("packages")
    found: dict[str, Any] = {
        "folder": shown(run.folder),
        "finished": when(run),
        "training": _seconds(metrics["seconds"]),
        "in all, with reading and evaluation": _seconds(metrics.get("seconds_in_all")),
        "device": metrics.get("device"),
        "devices": trainer.get("devices"),
        "precision": trainer.get("precision"),
        "machine": ", ".join(str(made[key]) for key in ("machine", "instructions") if made.get(key)),
        "threads": made.get("threads"),
        "seed": run.config.get("seed"),
        "retdm, commit": made.get("commit"),
        "Python": made.get("python"),
        **(packages if isinstance(packages, dict) else {}),
    }
    return [(str(name), _text(value)) for name, value in found.items() if value not in (None, "")]


def warnings(run: Run) -> list[str]:
    """The first warnings of its log, each once."""
    try:
        lines = RunFolder(run.folder).log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = dict.fromkeys(line.partition(" WARNING ")[2] for line in lines if " WARNING " in line)
    return [line[:LONGEST] for line in found][:MOST_WARNINGS]


def _provenance(run: Run) -> Mapping[str, Any]:
    found: Mapping[str, Any] = run.config.get("provenance", {})
    return found


def _seconds(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return ""
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} minutes"


def _text(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
