import errno
import logging
import os
import threading
from pathlib import Path

import pytest
from command_line import in_a_run

from retdm.runs.errors import guarded
from retdm.runs.folder import RunFolder
from retdm.runs.train import _logging


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
    with _logging(folder, quiet=False):
        logging.getLogger("retdm").info("a line")
    out, err = capsys.readouterr()
    assert out == "a line\n"
    assert err == ""
