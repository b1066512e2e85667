"""A killed run, continued by the same settings, ends as if nobody had touched it."""

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from composing import composed

from retdm.commands.train import train
from retdm.settings.run_settings import RunSettings
from retdm.stop import Stopped
from retdm.training.stages import Stages

# 43 training rows in 4 batches, stages of 1, 1 and 2 epochs: steps 1-4, 5-8, 9-16. Checkpoints after steps 2, 6, 10,
# 14 and at each epoch's end.
STEPS = 16


def settings_for(folder: Path, cache: Path, workers: int = 0, *more: str) -> RunSettings:
    return composed(
        "data.size=60",
        "data.image_size=16",
        "data.batch_size=12",
        f"data.workers={workers}",
        f"data.cache={cache}",
        "backbone.channels=[8,16]",
        "schedule=short",
        "schedule.joint.max_epochs=2",
        "trainer.accelerator=cpu",
        "trainer.checkpoint_steps=2",
        "method.decide=per_label_f1",
        f"run={folder}",
        *more,
    )


def in_a_process(work: Callable[..., None], *arguments: Any, start: str = "fork") -> int:
    """Exit code of ``work`` in a process of its own; negative is the signal that ended it."""
    process: Any = multiprocessing.get_context(start).Process(target=work, args=arguments)  # type: ignore[attr-defined]
    process.start()
    process.join(600)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def run(settings: RunSettings, step: int | None = None, number: int = signal.SIGKILL, threads: int | None = 1) -> None:
    """Train, in this process; at the end of ``step``, before anything of it is saved, send ourselves a signal."""
    torch.set_num_threads(threads or max(2, os.cpu_count() or 1))
    if step is not None:
        original = Stages.on_train_batch_end

        def hook(self: Stages, trainer: Any, *rest: Any) -> None:
            original(self, trainer, *rest)
            if trainer.global_step == step:
                os.kill(os.getpid(), number)

        Stages.on_train_batch_end = hook  # type: ignore[method-assign]
    try:
        train(settings)
    except Stopped as stopped:
        os._exit(stopped.exit_code)


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    content: dict[str, Any] = torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)
    assert name != "last" or content["global_step"] == STEPS
    state: dict[str, torch.Tensor] = content["state_dict"]
    return state


def assert_same_end(one: Path, other: Path, *checkpoints: str) -> None:
    for name in checkpoints or ("last", "best", "best-classification"):
        a, b = weights(one, name), weights(other, name)
        assert a.keys() == b.keys()
        assert [key for key in a if not torch.equal(a[key], b[key])] == []
    a, b = (json.loads((folder / "metrics.json").read_text()) for folder in (one, other))
    for stage in (*a["stages"], *b["stages"]):
        del stage["minutes"]  # of a clock
    for key in ("test", "validation", "per_label", "stages", "decision"):
        assert a[key] == b[key]
    assert a["decision"]["rule"] == "per_label_f1"
    assert epochs_of(one) == epochs_of(other)


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``history.jsonl`` without what a clock says."""
    lines = [json.loads(text) for text in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    return [{key: line[key] for key in line if key not in ("seconds", "images_per_second")} for line in lines]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def warm(tiny_run: Path) -> None:
    """What a run imports and compiles is there before the processes are forked, each of which need not do it anew."""


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("straight") / "run"
    assert in_a_process(run, settings_for(folder, cache)) == 0
    return folder


@pytest.mark.parametrize(
    ("step", "workers"),
    [
        (1, 0),  # nothing saved yet
        pytest.param(3, 0, marks=pytest.mark.slow),  # inside the first stage
        pytest.param(4, 0, marks=pytest.mark.slow),  # its last step, before validation
        (5, 2),  # first step of the second stage
        pytest.param(8, 0, marks=pytest.mark.slow),  # border of the second and third stage
        pytest.param(11, 2, marks=pytest.mark.slow),  # inside the third
        (16, 0),  # the very last step
    ],
)
def test_killed_at_a_step_it_ends_bitwise_equal(
    step: int, workers: int, straight: Path, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert in_a_process(run, settings_for(folder, cache, workers), step) == -signal.SIGKILL
    assert not (folder / "metrics.json").exists()
    assert in_a_process(run, settings_for(folder, cache, workers)) == 0
    assert_same_end(straight, folder)


def test_killed_between_moves_of_its_centres_the_center_loss_ends_bitwise_equal(cache: Path, tmp_path: Path) -> None:
    more = ["method=center", "schedule.end_to_end.max_epochs=4"]
    straight, killed = (settings_for(tmp_path / name, cache, 0, *more) for name in ("straight", "killed"))
    assert in_a_process(run, straight) == 0
    assert in_a_process(run, killed, 7) == -signal.SIGKILL
    assert in_a_process(run, killed) == 0
    assert weights(tmp_path / "killed")["centers"].any()
    assert_same_end(tmp_path / "straight", tmp_path / "killed", "last", "best")


@pytest.mark.parametrize(
    ("method", "state"),
    [("large_loss", "corrected"), pytest.param("role", "estimates.log_odds", marks=pytest.mark.slow)],
)
def test_killed_where_something_is_remembered_of_each_row_it_ends_bitwise_equal(
    method: str, state: str, cache: Path, tmp_path: Path
) -> None:
    more = [f"method={method}", "data.observe=single_positive", "schedule.end_to_end.max_epochs=4"]
    straight, killed = (settings_for(tmp_path / name, cache, 0, *more) for name in ("straight", "killed"))
    assert in_a_process(run, straight) == 0
    assert in_a_process(run, killed, 7) == -signal.SIGKILL  # in the second pass, from which on labels are corrected
    assert in_a_process(run, killed) == 0
    assert weights(tmp_path / "killed")[state].any()
    assert_same_end(tmp_path / "straight", tmp_path / "killed", "last", "best")


PROBE = ["schedule=fine_tune", "schedule.joint.max_epochs=4", "schedule.label_embedding.min_steps=6"]
PROBE += ["data.batch_size=12", "schedule.joint.min_steps=13"]  # the stage on features has 8 steps


@pytest.fixture(scope="module")
def from_probe(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("from_probe") / "run"
    assert in_a_process(run, settings_for(folder, cache, 0, *PROBE)) == 0
    return folder


@pytest.mark.parametrize("step", [None, pytest.param(9, marks=pytest.mark.slow), 13])
def test_killed_in_a_run_from_a_probe_it_ends_bitwise_equal(
    step: int | None, from_probe: Path, cache: Path, tmp_path: Path
) -> None:
    """A kill before the first checkpoint of gradient training, at which the start is made anew, and two after it."""
    killed = settings_for(tmp_path / "killed", cache, 0, *PROBE)
    code = in_a_process(kill_at_the_start, killed) if step is None else in_a_process(run, killed, step)
    assert code == -signal.SIGKILL
    assert (tmp_path / "killed/checkpoints/start.ckpt").exists()
    assert in_a_process(run, killed) == 0
    assert_same_end(from_probe, tmp_path / "killed", "last", "best", "start", "end")


def kill_at_the_start(settings: RunSettings) -> None:
    """Train until ``start.ckpt`` is there."""
    torch.set_num_threads(1)
    Stages.on_train_start = lambda self, trainer, method: (  # type: ignore[method-assign,assignment]
        os.kill(os.getpid(), signal.SIGKILL) if trainer.checkpoint_callback else None
    )
    train(settings)


def test_killed_where_the_weights_are_averaged_it_ends_bitwise_equal(cache: Path, tmp_path: Path) -> None:
    ends = {"straight": [None], "killed": [7, 11, None]}  # inside an epoch, behind a checkpoint
    for name, steps in ends.items():
        settings = settings_for(tmp_path / name, cache, 0, "+schedule.ema=0.9")
        for step in steps:
            assert in_a_process(run, settings, step) == (0 if step is None else -signal.SIGKILL)
        assert_same_end(tmp_path / "straight", tmp_path / name)
        last = [torch.load(tmp_path / each / "checkpoints/last.ckpt", weights_only=True) for each in ("straight", name)]
        assert last[0]["averaging_state"] == last[1]["averaging_state"]
        weights, others = (each["current_model_state"] for each in last)
        assert all(torch.equal(weights[key], others[key]) for key in weights)


def test_killed_where_views_are_changed_and_mixed_it_ends_bitwise_equal(cache: Path, tmp_path: Path) -> None:
    more = ["method=bce", "augment=strong", "augment.mixup=0.4", "augment.cutmix=1", "schedule.end_to_end.max_epochs=4"]
    more += ["method.layer_decay=0.5"]  # which divides the optimizer's groups
    assert in_a_process(run, settings_for(tmp_path / "straight", cache, 0, *more)) == 0
    killed = settings_for(tmp_path / "killed", cache, 1, *more)
    assert in_a_process(run, killed, 7) == -signal.SIGKILL
    assert in_a_process(run, killed) == 0
    assert_same_end(tmp_path / "straight", tmp_path / "killed", "last", "best")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_where_it_stands_and_the_run_goes_on(
    number: int, straight: Path, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert in_a_process(run, settings_for(folder, cache), 7, number) == 128 + number
    saved = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 7
    assert in_a_process(run, settings_for(folder, cache)) == 0
    assert_same_end(straight, folder)


def test_killed_after_training_it_only_evaluates(straight: Path, cache: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(straight, tmp_path / "run"))
    (folder / "metrics.json").unlink()
    before = (folder / "checkpoints/last.ckpt").stat().st_mtime_ns
    assert in_a_process(run, settings_for(folder, cache)) == 0
    assert (folder / "checkpoints/last.ckpt").stat().st_mtime_ns == before
    assert_same_end(straight, folder)


@pytest.mark.slow
def test_with_the_default_number_of_threads_runs_repeat_and_continue_bitwise(cache: Path, tmp_path: Path) -> None:
    """Large batches of few label sets and wide embeddings: many rows of a gradient are added up at one place."""
    ends = {"one": [None], "other": [None], "killed": [11, None], "killed early": [2, 9, None]}
    for name, steps in ends.items():
        settings = settings_for(tmp_path / name, cache, 0, "data.size=300", "data.batch_size=54")
        for step in steps:
            code = in_a_process(run, settings, step, signal.SIGKILL, None, start="spawn")  # threads do not fork
            assert code == (0 if step is None else -signal.SIGKILL)
        assert_same_end(tmp_path / "one", tmp_path / name)
