"""``train.py`` in a folder that holds something already."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import TINY, Refused, check_message, in_process


def test_a_finished_run_is_said_to_be_finished_and_left_alone(copy: Path, cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    done = in_process("train.py", f"run={copy}", f"data.cache={cache}", *TINY)
    assert done.code == 0
    assert done.out.splitlines()[1:] == [
        f"finished already: {copy} (overwrite=true runs it anew)",
        f"page       {copy / 'report.html'}",
        f"retdm test run={copy}",
    ]
    lock = copy / ".lock"
    assert {path: path.stat().st_mtime_ns for path in before if path != lock} == {
        path: time for path, time in before.items() if path != lock
    }


def test_overwrite_runs_anew_and_removes_what_the_run_left_and_nothing_else(copy: Path, cache: Path) -> None:
    first = json.loads((copy / "metrics.json").read_text())
    (copy / "pictures" / "old.png").write_text("of the first run")
    (copy / "note.txt").write_text("the user's own")
    done = in_process("train.py", f"run={copy}", f"data.cache={cache}", *TINY, "overwrite=true")
    assert done.code == 0
    assert done.out.count("\nepoch ") == 3
    assert not (copy / "pictures" / "old.png").exists()
    assert (copy / "note.txt").read_text() == "the user's own"
    second = json.loads((copy / "metrics.json").read_text())
    assert second["seconds"] != first["seconds"]
    assert second["test"] == first["test"]


def test_a_run_of_another_configuration_is_refused_with_the_keys_that_differ(copy: Path, cache: Path) -> None:
    done = in_process("train.py", f"run={copy}", f"data.cache={cache}", *TINY, "method.k=3", "data.split=1", "tags=[a]")
    assert "data.split: 0 -> 1; method.k: 10 -> 3" in check_message(done)
    assert "tags" not in done.err
    assert (copy / "metrics.json").exists()


@pytest.mark.parametrize(("name", "overwrite"), [("config.yaml", "true"), ("pictures", "true"), ("pictures", "false")])
def test_a_folder_of_something_else_is_refused_and_left_as_it_is(
    refused: Refused, tmp_path: Path, name: str, overwrite: str
) -> None:
    place = tmp_path / "holiday"
    mine = place / name if name.endswith(".yaml") else place / name / "sea.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine: all")
    assert str(place) in refused(f"run={place}", f"overwrite={overwrite}")
    assert mine.read_text() == "mine: all"


def test_a_truncated_checkpoint_is_told_and_not_trained_over(copy: Path, cache: Path) -> None:
    (copy / "metrics.json").unlink()
    last = copy / "checkpoints" / "last.ckpt"
    half = last.read_bytes()[: last.stat().st_size // 2]
    last.write_bytes(half)
    done = in_process("train.py", f"run={copy}", f"data.cache={cache}", *TINY)
    message = check_message(done)
    assert f"the checkpoint cannot be read: {last}" in message
    assert "overwrite=true" in message
    assert not (copy / "metrics.json").exists()
    assert last.read_bytes() == half


@pytest.fixture
def hold() -> Iterator[Callable[[Path], None]]:
    """``hold(folder)``: another process works in it until the test is over."""
    others = []

    def begin(folder: Path) -> None:
        code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, 2); print(1); sys.stdin.read()"
        command = [sys.executable, "-u", "-c", code, str(folder / ".lock")]
        others.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert others[-1].stdout.readline() == b"1\n"

    yield begin
    for other in others:
        other.communicate()


def test_a_folder_in_which_another_process_works_is_left_to_it(
    copy: Path, cache: Path, hold: Callable[[Path], None]
) -> None:
    hold(copy)
    done = in_process("train.py", f"run={copy}", f"data.cache={cache}", *TINY, "overwrite=true")
    assert f"another process is working in {copy}" in check_message(done)
    assert (copy / "metrics.json").exists()
