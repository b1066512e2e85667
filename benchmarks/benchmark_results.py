"""What benchmarks keep and print: lines of JSON, a run each, and means with their deviation."""

import json
import statistics
from pathlib import Path
from typing import Any


def kept(path: Path) -> list[dict[str, Any]]:
    """The lines that earlier calls left; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def keep(path: Path, line: dict[str, Any]) -> None:
    """Add a line that a later call finds."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def spread(values: list[float]) -> str:
    """The mean and, of several, the sample standard deviation."""
    return f"{statistics.mean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")
