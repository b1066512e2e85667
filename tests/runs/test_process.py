"""The same command gives the same bits, by as many threads as there are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from retdm.commands.train import train
from retdm.methods.networks.classifier import Classifier
from retdm.registry import CONF
from retdm.runs import process as module
from retdm.runs.folder.provenance import provenance, rounds_differently
from retdm.runs.process import is_deterministic, repeatable
from retdm.settings.compose import compose_settings
from retdm.settings.run_settings import RunSettings
from retdm.training.checkpoints import Stopped

Tiny = Callable[..., RunSettings]
METHODS = sorted(file.stem for file in (CONF / "method").glob("*.yaml"))
TRAINER = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "deterministic": None}


def gradient_of_repeated_rows() -> bytes:
    """What no order of threads but a fixed one computes twice."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 512, generator=generator, requires_grad=True)
    rows, weight = torch.randint(0, 8, (64, 10), generator=generator), torch.randn(64, 10, 512, generator=generator)
    (x[rows] * weight).sum().backward()
    assert x.grad is not None
    return x.grad.numpy().tobytes()


def test_rows_that_repeat_have_one_gradient_where_a_run_trains(threads: int) -> None:
    with repeatable(TRAINER):
        assert len({gradient_of_repeated_rows() for _ in range(20)}) == 1
        assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # not for free
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]


def test_the_default_is_yes_on_a_cpu_and_no_on_a_gpu_and_a_setting_has_the_last_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = [is_deterministic({"accelerator": kind, "deterministic": None}) for kind in ("cpu", "gpu", "auto")]
    assert found == [True, False, False]
    for asked in (True, False):
        assert {is_deterministic({"accelerator": kind, "deterministic": asked}) for kind in ("cpu", "gpu")} == {asked}


def test_processes_of_one_cpu_have_their_share_of_threads_from_the_start(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: range(6))
    monkeypatch.delenv("OMP_NUM_THREADS")
    with repeatable(TRAINER | {"devices": 2}):
        assert provenance()["threads"] == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4")  # who says how many has said it
    with repeatable(TRAINER | {"devices": 2}):
        assert provenance()["threads"] == 4
    assert torch.get_num_threads() == threads


def test_provenances_are_told_apart_by_what_rounds() -> None:
    now = provenance()
    assert rounds_differently(now, now) == rounds_differently({}, now) == []
    assert rounds_differently(now | {"command": "python other.py", "commit": "0"}, now) == []
    old = now | {"threads": 64, "packages": now["packages"] | {"torch": "1.0"}}
    assert rounds_differently(old, now) == [
        f"threads 64 -> {now['threads']}",
        f"torch 1.0 -> {now['packages']['torch']}",
    ]


def test_a_run_is_deterministic_and_tells_its_threads_and_that_others_continue_it(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny("method=bce", "schedule.end_to_end.max_epochs=2")
    seen: list[bool] = []
    step = Classifier.training_step

    def stopping(self: Classifier, *arguments: Any) -> Any:
        seen.append(torch.are_deterministic_algorithms_enabled())
        if self.global_step == 4:  # the second epoch's first
            raise Stopped(15)
        return step(self, *arguments)

    monkeypatch.setattr(Classifier, "training_step", stopping)
    with pytest.raises(Stopped):
        train(settings)
    assert seen and all(seen)
    monkeypatch.undo()
    (config,) = Path(settings.outputs).rglob("config.yaml")
    content = yaml.safe_load(config.read_text())
    assert content["provenance"]["threads"] == torch.get_num_threads()
    content["provenance"]["threads"] = 7
    config.write_text(yaml.safe_dump(content))
    folder = train(settings)
    assert yaml.safe_load(config.read_text())["provenance"]["threads"] == torch.get_num_threads()
    said = [line for line in (folder / "log.txt").read_text().splitlines() if "continued with" in line]
    assert len(said) == 1 and f"another threads 7 -> {torch.get_num_threads()}:" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trained_twice_is_bitwise_equal(
    method: str, tmp_path: Path, tiny_cache: Path, threads: int
) -> None:
    torch.set_num_threads(2)  # more than cores make whole runs slow
    words = ["experiment=smoke", f"method={method}", "data.size=300", "data.batch_size=100", f"data.cache={tiny_cache}"]
    words += ["trainer.accelerator=cpu", "trainer.precision=32-true"]
    found = []
    for name in ("one", "other"):
        folder = train(compose_settings([*words, f"outputs={tmp_path / name}"]))
        state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        found.append({name: values.numpy().tobytes() for name, values in state.items()})  # NaN equals itself
    one, other = found
    assert [name for name in one if one[name] != other[name]] == []
