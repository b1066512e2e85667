"""Seconds from pressing Enter to the first line, to the first batch, and to a message about a wrong setting.

    python benchmarks/start.py [repeats=5] [words=data.size=300] [program=train.py]

``program`` is the train.py of this checkout, or of another one to compare with; ``words`` follow it, joined by commas.
Printed: wall seconds and CPU seconds of the process until then, medians. The first batch is where the first stage is
announced. The files of Python and its packages are read once before.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmark_options import options_of

ROOT = Path(__file__).resolve().parents[1]
EVENTS = {"first line": r".", "first batch": r"stage \w+: trains"}
WRONG = {
    "a wrong key": "method.kk=3",
    "a wrong value": "method.k=abc",
    "a missing folder": "data=csv data.root=/nowhere",
}


def main() -> None:
    asked = options_of({"repeats": 5, "words": "data.size=300", "program": str(ROOT / "train.py")})
    program = Path(asked["program"]).resolve()
    words = asked["words"].split(",")
    rows: dict[str, list[tuple[float, float]]] = {}
    for repeat in range(asked["repeats"] + 1):
        for name, seconds in measured(program, words).items():
            rows.setdefault(name, []).extend([seconds] * (repeat > 0))
        for name, wrong in WRONG.items():
            seconds = measured(program, wrong.split())["first line"]
            rows.setdefault(name, []).extend([seconds] * (repeat > 0))
    print(f"{'':<18}{'wall s':>8}{'CPU s':>8}   median of {asked['repeats']}, {program}")
    for name, each in rows.items():
        wall, cpu = (statistics.median(column) for column in zip(*each, strict=True))
        print(f"{name:<18}{wall:>8.2f}{cpu:>8.2f}", flush=True)


def measured(program: Path, words: list[str]) -> dict[str, tuple[float, float]]:
    """Event -> (wall seconds, CPU seconds) until it, of one command that is ended after the last."""
    found: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, program, *words],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(program.parent), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                for name, pattern in EVENTS.items():
                    if name not in found and re.search(pattern, line):
                        found[name] = (time.perf_counter() - started, _cpu_seconds(process.pid))
                if len(found) == len(EVENTS):
                    process.kill()
    return found


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
