"""Commands killed at random times and continued, compared with undisturbed ones.

    python benchmarks/kills.py [of=all] [kills=5] [seed=0] [folder=<a temporary one>]

``of`` names some of CASES, with commas. Each case is run once undisturbed. Then the same command, in a folder of its
own, is started ``kills`` times and sent a signal at a random moment of that time: SIGKILL or SIGTERM, to its whole
process group as terminals and schedulers do. It is repeated until it ends, and what it leaves is compared bit by bit
with the undisturbed end: weights, criteria, predictions. A run that ends before its kill is compared too, and begun
anew.

Printed: kills by signal; ends compared and equal; commands still there a minute after SIGTERM; ends by SIGTERM with
another exit code than 143 or more than its one line; tracebacks. The exit code is 0 where every end was equal and
nothing else of these was counted.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from benchmark_options import options_of
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TRAIN = (
    f"{ROOT / 'train.py'} data.size=120 data.image_size=16 data.batch_size=12 backbone.channels=[8,16] "
    "method.embedding_dim=8 schedule=short schedule.joint.max_epochs=4 trainer.accelerator=cpu "
    "trainer.precision=32-true trainer.checkpoint_steps=3 data.cache={cache}"
)
PLAIN = TRAIN.replace("method.embedding_dim=8 schedule=short schedule.joint.max_epochs=4 ", "")
GONE = 60.0  # seconds after SIGTERM
Content = dict[str, Any]


class Case(NamedTuple):
    """A command, with its places in braces, and the reader of its output."""

    command: str
    read: Callable[[Path], Content]


def _runs(folder: Path) -> Content:
    """Weights and criteria of every run below a folder."""
    found: Content = {}
    for metrics in sorted(folder.rglob("metrics.json")):
        report = json.loads(metrics.read_text())
        name = metrics.parent.relative_to(folder)
        found[f"{name}/criteria"] = {key: report[key] for key in ("test", "validation", "threshold", "per_label")}
        for file in sorted(metrics.parent.glob("checkpoints/*.ckpt")):
            state = torch.load(file, weights_only=True)["state_dict"]
            found |= {f"{name}/{file.name}/{key}": tensor for key, tensor in state.items()}
    return found


def _exported(folder: Path) -> Content:
    return dict(torch.export.load(folder / "model.pt2").state_dict)


def _predicted(folder: Path) -> Content:
    return {"csv": (folder / "predictions.csv").read_text()}


CASES = {
    "one": Case(TRAIN + " run={out}", _runs),
    "two": Case(TRAIN + " run={out} trainer.devices=2", _runs),
    "workers": Case(TRAIN + " run={out} data.workers=2", _runs),
    "fitted": Case(PLAIN + " run={out} method=lr refit=true", _runs),
    "sweep": Case(
        PLAIN.replace("train.py", "train.py -m") + " outputs={out} method=lr refit=true data.split=0,1", _runs
    ),
    "predict": Case("-m retdm predict run={run} images={images} out={out}", _predicted),
    "export": Case("-m retdm export run={run} out={out} onnx=false overwrite=true", _exported),
}


def main() -> int:
    asked = options_of({"of": "all", "kills": 5, "seed": 0, "folder": ""})
    names = list(CASES) if asked["of"] == "all" else asked["of"].split(",")
    folder = Path(asked["folder"] or tempfile.mkdtemp())
    chance = random.Random(asked["seed"])
    bad = 0
    for name in names:
        counts, seconds = _killed(CASES[name], folder / name, asked["kills"], chance)
        bad += sum(counts[key] for key in ("different", "still there", "wrong end", "traceback"))
        events = ", ".join(f"{key} {count}" for key, count in sorted(counts.items()))
        print(f"{name:<8} undisturbed {seconds:.0f} s: {events}", flush=True)
    if not asked["folder"]:
        shutil.rmtree(folder)
    return 1 if bad else 0


def _killed(case: Case, folder: Path, kills: int, chance: random.Random) -> tuple[Counter[str], float]:
    """Count the events of a case; and the seconds of its undisturbed command."""
    places = {"cache": str(folder / "cache"), "images": str(folder / "images"), "run": str(folder / "trained")}
    _photographs(folder / "images")
    if "{run}" in case.command:
        _to_the_end(CASES["one"].command.format(**places, out=places["run"]))
    straight, out = folder / "straight", folder / "out"
    seconds = _to_the_end(case.command.format(**places, out=straight))
    expected = case.read(straight)
    assert expected, "the command leaves nothing to compare"
    counts: Counter[str] = Counter()
    command = case.command.format(**places, out=out)

    def compare() -> None:
        counts["equal" if _same(expected, case.read(out)) else "different"] += 1
        shutil.rmtree(out)

    for _ in range(kills):
        sent = chance.choice((signal.SIGKILL, signal.SIGTERM))
        for event in _start_and_kill(command, sent, chance.uniform(0, seconds)):
            counts[event] += 1
            if event == "ended before":
                compare()
    _to_the_end(command)
    compare()
    return counts, seconds


def _start_and_kill(command: str, sent: signal.Signals, after: float) -> Iterator[str]:
    """Yield the events of a command that is sent a signal after some seconds."""
    process = _start(command)
    try:
        _, said = process.communicate(timeout=after)
        yield "ended before"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, sent)
        yield sent.name
        try:
            _, said = process.communicate(timeout=GONE)
            one_line = len(said.splitlines()) == 1 and said.startswith("stopped by SIGTERM")
            if sent == signal.SIGTERM and (process.returncode != 143 or not one_line):
                early = process.returncode == -signal.SIGTERM and not said  # before the first line of ours
                yield "SIGTERM at once" if early else "wrong end"
                if not early:
                    print(f"  {process.returncode}: {said[-2000:]}", file=sys.stderr)
        except subprocess.TimeoutExpired:
            yield "still there"
            os.killpg(process.pid, signal.SIGKILL)
            _, said = process.communicate()
    if "Traceback" in said:
        yield "traceback"
    _wait_for_group(process.pid)


def _wait_for_group(group: int) -> None:
    """Until its loading and other processes have noticed, too: the next command wants the run's lock."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)


def _start(command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command.split(" ")],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _to_the_end(command: str) -> float:
    """Seconds of a command that must end well."""
    started = time.monotonic()
    process = _start(command)
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"{command}\n{said}")
    return time.monotonic() - started


def _photographs(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (200, 64, 64, 3), np.uint8)
    for i, each in enumerate(pixels):
        Image.fromarray(each).save(folder / f"{i:03}.png")


def _same(one: Content, other: Content) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        for key, value in one.items()
    )


if __name__ == "__main__":
    sys.exit(main())
