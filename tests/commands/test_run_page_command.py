"""The page that a run leaves, and the commands that write it again."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import check_message, in_process
from PIL import Image

from retdm.commands.train import train
from retdm.criteria import worst_decisions
from retdm.decisions import decide
from retdm.report.one_run import page
from retdm.runs.folder.paths import RunFolder
from retdm.settings.run_settings import RunSettings

Tiny = Callable[..., RunSettings]


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_a_run_leaves_small_pictures_of_its_worst_mistakes(tiny_run: Path) -> None:
    rows = np.load(tiny_run / "predictions.npz")
    predicted = decide(rows["scores"], "half")
    worst = rows["index"][worst_decisions(rows["scores"], rows["target"], rows["known"], predicted, 24)]
    found = {int(path.stem): path for path in RunFolder(tiny_run).mistakes.iterdir()}
    assert set(found) == set(worst.tolist()) and len(worst) > 0
    for path in found.values():
        with Image.open(path) as image:
            assert image.format == "JPEG" and max(image.size) <= 224


def test_a_run_alone_leaves_its_page_and_a_job_of_a_sweep_none(tiny: Tiny) -> None:
    alone = train(tiny("method=bce"))
    assert "<title>bce on synthetic</title>" in RunFolder(alone).page.read_text()
    job = train(tiny("method=bce", "seed=1"), in_sweep=True)
    assert RunFolder(job).finished and not RunFolder(job).page.exists()
    assert RunFolder(job).mistakes.exists()  # for the page that may be asked for later


def test_a_page_that_fails_is_a_warning_and_the_run_is_finished(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("of the page")

    monkeypatch.setattr(page, "contents", fail)
    caplog.set_level(logging.WARNING, "retdm")
    folder = RunFolder(train(tiny("method=bce")))
    assert folder.finished and not folder.page.exists()
    assert "the page of the run failed: ZeroDivisionError: of the page" in caplog.text


def test_the_command_writes_the_page_again_and_prints_the_criteria(run: Path, tmp_path: Path) -> None:
    RunFolder(run).page.unlink(missing_ok=True)
    done = in_process("report", str(run))
    assert done.code == 0 and done.out.splitlines()[-1] == f"written    {run / 'report.html'}"
    assert "95 % interval" in done.out and "mAP" in done.out
    done = in_process("report", str(run), f"out={tmp_path / 'new' / 'place'}")
    assert done.code == 0
    assert (tmp_path / "new" / "place" / "report.html").read_bytes() == RunFolder(run).page.read_bytes()


def test_a_setting_that_compares_is_refused_for_a_single_run(run: Path) -> None:
    message = check_message(in_process("report", str(run), "choose=mAP"))
    assert "choose, criteria and baseline compare runs" in message and f"retdm report {run.parent}" in message


def test_testing_a_run_puts_the_pictures_of_its_mistakes_back(run: Path) -> None:
    folder = RunFolder(run)
    before = {path.name: path.read_bytes() for path in folder.mistakes.iterdir()}
    shutil.rmtree(folder.mistakes)
    assert in_process("test.py", f"run={run}").code == 0
    assert {path.name: path.read_bytes() for path in folder.mistakes.iterdir()} == before
    assert json.loads(folder.test.read_text())["label_counts"] == json.loads(folder.metrics.read_text())["label_counts"]
