import errno
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from command_line import in_a_run
from rich.console import Console

from retdm.commands.guard import guarded
from retdm.runs.errors import as_user_error
from retdm.runs.folder.logs import error_file, logging_to
from retdm.runs.folder.paths import RunFolder
from retdm.stop import Stopped


def in_a_thread(error: Exception) -> None:
    def fail() -> None:
        raise error

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()


def test_a_disk_that_is_full_in_a_thread_prints_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    # TensorBoard writes in a thread; its error comes again in the main one.
    with in_a_run():
        guarded(lambda: in_a_thread(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    assert capsys.readouterr().err == ""


def test_a_bug_in_a_thread_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with in_a_run():
        guarded(lambda: in_a_thread(ValueError("a bug")))
    assert "ValueError: a bug" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_a_log_that_cannot_be_written_prints_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path)
    folder.log.symlink_to("/dev/full")
    with logging_to(folder, quiet=False):
        logging.getLogger("retdm").info("a line")
    out, err = capsys.readouterr()
    assert out == "a line\n"
    assert err == ""


def test_a_command_outlives_its_screen(capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = []

    def command() -> None:
        print("a line", flush=True)
        Console().print("[b]a table[/b]")
        print("an error", file=sys.stderr, flush=True)
        done.append(True)

    with os.fdopen(writer, "w") as broken, in_a_run(), redirect_stdout(broken), redirect_stderr(broken):
        guarded(command)
    assert done == [True]


def test_a_command_needs_no_screen_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with in_a_run():
        guarded(lambda: print(sys.stderr.isatty(), flush=True))


def test_a_lost_loading_process_is_one_line() -> None:
    lost = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. \nMore")
    wrapped = TypeError("unsupported callable")  # by a library that was at work when the signal came
    wrapped.__cause__ = lost
    for error in (lost, wrapped):
        told = as_user_error(error)
        assert told is not None
        assert told.message == "a loading process was lost: (pid 7) is killed by signal: Killed"
        assert "data.workers" in str(told.hint)


@pytest.mark.parametrize("end", [SystemExit(1), Stopped(signal.SIGTERM), KeyboardInterrupt()])
def test_what_is_no_error_leaves_no_error_file(tmp_path: Path, end: BaseException) -> None:
    folder = RunFolder(tmp_path)
    folder.config.touch()
    with pytest.raises(type(end)), error_file(folder):
        raise end
    assert not folder.error.exists()
    with pytest.raises(ValueError, match="bug"), error_file(folder):
        raise ValueError("bug")
    assert folder.error.read_text() == "ValueError: bug\n"


def test_the_guard_stands_before_pytorch_reads_the_environment_that_it_sets() -> None:
    program = "import sys; import retdm.commands.guard; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
