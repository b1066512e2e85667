"""Outputs in which more than one is at work: a second sweep, and somebody who removes them."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from command_line import TINY, in_process
from holders import worked_in
from omegaconf import OmegaConf

from retdm.commands import sweep
from retdm.runs.folder.paths import RunFolder
from retdm.training.stages import Stages


@contextlib.contextmanager
def at_work_until_awaited(folder: Path) -> Iterator[None]:
    """Another process works in a run folder until a sweep waits for it."""

    awaited = []
    with worked_in(RunFolder(folder)) as let_go:

        def on_sleep(seconds: float) -> None:
            awaited.append(seconds)
            let_go()

        with mock.patch.object(sweep.time, "sleep", on_sleep):
            yield
        assert awaited


def test_what_one_sweep_is_at_another_leaves_to_it_and_awaits(tmp_path: Path) -> None:
    tiny = [word for word in TINY if not word.startswith(("method.", "schedule="))]
    words = ["-m", "method=lr", "data.split=0,1", f"outputs={tmp_path}", *tiny]
    first = in_process("train.py", *words)
    assert first.code == 0, first.err
    with at_work_until_awaited(next(tmp_path.rglob("metrics.json")).parent):
        second = in_process("train.py", *words)
    assert second.code == 0, second.err
    assert second.out.count("its result is awaited at the end") == 1
    assert second.out.count("finished already") == 1
    assert second.out.splitlines()[-5:] == first.out.splitlines()[-5:]


def test_a_sweep_that_overwrites_remembers_its_name_until_all_have_ended(tmp_path: Path) -> None:
    def note(*words: str) -> str | None:
        config = OmegaConf.create(
            {"outputs": str(tmp_path), "hydra": {"sweep": {"dir": "now"}, "overrides": {"task": list(words)}}}
        )
        return sweep._clearing(config)

    first = note("seed=0,1", "overwrite=true")
    assert note("seed=0,1", "overwrite=true") == first  # killed, and started again
    (file,) = (tmp_path / ".sweeps").iterdir()
    file.write_text("{")
    assert note("seed=0,1", "overwrite=true") == "sweep now"
    note("seed=0,1,2", "overwrite=true")
    assert len(list((tmp_path / ".sweeps").iterdir())) == 2


def test_outputs_that_are_removed_under_a_run_end_it_in_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Stages.on_train_batch_end

    def remove(self: Stages, trainer: Any, *rest: Any) -> None:
        original(self, trainer, *rest)
        if trainer.global_step == 2:
            shutil.rmtree(tmp_path / "out")

    monkeypatch.setattr(Stages, "on_train_batch_end", remove)
    done = in_process("train.py", f"run={tmp_path / 'out' / 'run'}", f"data.cache={tmp_path / 'cache'}", *TINY)
    assert done.code == 2
    assert done.err.splitlines() == [
        f"error: {tmp_path / 'out' / 'run'} was removed while the run was at work",
        "  the same command starts it anew",
    ]
    assert not list(tmp_path.rglob("*.ckpt"))
