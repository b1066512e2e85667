import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import in_process
from PIL import Image

import retdm
from retdm.data.synthetic.source import Synthetic
from retdm.methods.networks.classifier import Classifier
from retdm.settings.compose import compose_settings
from retdm.training.stages import Stages

NET: dict[str, Any] = {
    "data.image_size": 16,
    "data.batch_size": 16,
    "backbone": "vgg_small",
    "backbone.channels": [8, 16],
    "trainer": {"accelerator": "cpu", "precision": "32-true"},
}
DRAWN = {**NET, "data.size": 60, "schedule": "short"}
DRAWN_FITTED = {**NET, "data.size": 60}
SPLITS = (["train"] * 2 + ["validation", "test"]) * 10


class OwnClassifier(Classifier):
    """The same, from outside the package."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def scenes() -> tuple[list[Image.Image], np.ndarray, list[str]]:
    source = Synthetic(40, side=16)
    return [source.read(i) for i in range(40)], source.targets.astype(float), source.names


def test_a_call_is_the_command_and_finds_its_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = retdm.train("method=bce", **DRAWN)
    printed = capsys.readouterr().out
    words = ["method=bce", "data.size=60", "data.image_size=16", "data.batch_size=16", "backbone=vgg_small"]
    words += ["backbone.channels=[8,16]", "schedule=short", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    assert run.folder == compose_settings(words).folder.absolute()
    assert printed.splitlines()[-1] == f"retdm test run={run.folder.relative_to(here)}"
    assert "O-F1" in printed

    done = in_process("train.py", *words)
    assert "\nfinished already: " in done.out
    again = retdm.train(words)
    assert again.folder == run.folder
    assert capsys.readouterr().out == done.out.partition("\n")[2]  # the command names itself first

    assert repr(run) == repr(again)
    assert f"mAP {run.metrics['test']['mAP']:.3f}" in repr(run)
    assert run.settings["choices"]["method"] == "bce"
    assert set(run.pictures) >= {"predictions-end_to_end", "labels-end_to_end"}
    assert all(file.is_file() for file in (run.page, *run.pictures.values()))


def test_images_and_targets_are_trained_on_and_every_command_works_on_the_run(
    scenes: tuple[list[Image.Image], np.ndarray, list[str]],
) -> None:
    images, targets, labels = scenes
    targets = targets.copy()
    targets[[1, 3], 0] = np.nan
    table = pd.DataFrame(targets, columns=labels)
    run = retdm.train(images=images, targets=table, splits=SPLITS, method="lr", **NET)
    assert run.model.labels == labels
    found = run.predictions
    assert found["index"].tolist() == [i for i, split in enumerate(SPLITS) if split == "test"]
    assert found["images"].tolist() == [f"{i:06d}.png" for i in found["index"]]
    np.testing.assert_array_equal(np.where(found["known"], found["target"], np.nan), targets[found["index"]])
    scores = run.model.predict([images[i] for i in found["index"]])
    assert np.abs(scores - found["scores"]).max() < 1e-5
    assert retdm.evaluate(found["scores"], targets[found["index"]]) == pytest.approx(run.metrics["test"])
    assert in_process("test.py", f"run={run.folder}").code == 0

    for images_again in (np.stack([np.asarray(image) for image in images]), iter(images)):
        again = retdm.train(images=images_again, targets=targets, labels=labels, splits=SPLITS, method="lr", **NET)
        assert again.folder == run.folder


def test_paths_stay_where_they_are(scenes: tuple[list[Image.Image], np.ndarray, list[str]], here: Path) -> None:
    images, targets, labels = scenes
    paths = [here / "photos" / f"{i}.png" for i in range(40)]
    paths[0].parent.mkdir()
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    run = retdm.train(images=paths, targets=targets, labels=labels, method="lr", **NET)
    assert run.settings["data"]["root"] == str(here / "photos")
    assert set(run.predictions["images"]) < {path.name for path in paths}
    assert run.model.predict(paths[:2], decide=True) == run.model.predict(images[:2], decide=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"words": "method=nope"}, "no method named nope"),
        ({"method.nope": 1}, "method.nope is not a setting"),
        ({"data": "csv", "data.root": "/nowhere"}, "data.root=/nowhere is no folder"),
        ({"trainer.devices": 2}, "works in the process that calls it"),
        ({"labels": ["cat"]}, "labels, splits and groups are of images"),
        ({"images": [1]}, "targets is missing"),
        ({"targets": [[1]]}, "images is missing"),
        ({"images": [1], "targets": [[1]], "labels": ["a"], "data": "scene"}, "data=scene: the data is images"),
        ({"images": [1], "targets": [[1]], "labels": ["a"], "data.root": "/x"}, "data.root=/x: the data is images"),
        ({"images": [1], "targets": [[1]], "labels": ["a"]}, "image 0 is of type int"),
    ],
)
def test_mistakes_are_exceptions_with_the_commands_words(given: dict[str, Any], message: str) -> None:
    words = given.pop("words", "")
    with pytest.raises(retdm.UserError, match=message):
        retdm.train(words, **(NET | given))


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """``stop_at(step, number)``: once, at the end of this step, the process gets a signal."""

    def at(step: int, number: int) -> None:
        original = Stages.on_train_batch_end
        left = [step]

        def hook(self: Stages, trainer: Any, *rest: Any) -> None:
            original(self, trainer, *rest)
            left[0] -= 1
            if left[0] == 0:
                signal.raise_signal(number)

        monkeypatch.setattr(Stages, "on_train_batch_end", hook)

    return at


def test_ctrl_c_saves_and_the_same_call_continues(
    here: Path, stop_at: Callable[[int, int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**DRAWN, "method": "bce", "schedule.end_to_end.max_epochs": 3, "schedule.end_to_end.rule": "one_cycle"}
    whole = retdm.train(**settings, outputs=here / "whole")
    stop_at(5, signal.SIGINT)  # of 9
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="the same call of retdm.train continues"):
        retdm.train(**settings)
    assert signal.getsignal(signal.SIGINT) is handler
    (last,) = here.glob("outputs/**/last.ckpt")
    with pytest.raises(retdm.UserError, match="no finished run .*: unfinished"):
        retdm.Run(last.parents[1])
    capsys.readouterr()
    run = retdm.train(**settings)
    assert "continuing at epoch 2, batch 3" in capsys.readouterr().out
    assert run.folder == last.parents[1]
    np.testing.assert_array_equal(run.predictions["scores"], whole.predictions["scores"])


def test_another_signal_goes_to_the_handler_that_was_there(stop_at: Callable[[int, int], None]) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        stop_at(1, signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            retdm.train(method="bce", **DRAWN)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_it_runs_in_any_thread_one_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = [0], [0]
    original = compose_settings

    def counted(words: list[str]) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        try:
            return original(words)
        finally:
            inside[0] -= 1

    monkeypatch.setattr("retdm.api.train.compose_settings", counted)
    found: list[retdm.Run] = []
    threads = [
        threading.Thread(target=lambda seed=seed: found.append(retdm.train(method="lr", seed=seed, **DRAWN_FITTED)))
        for seed in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({run.folder for run in found}) == 2
    assert most == [1]


def test_a_class_of_the_callers_own_is_trained_and_loaded(here: Path) -> None:
    run = retdm.train(**DRAWN, method="bce", **{"method._target_": f"{__name__}.OwnClassifier"})
    assert type(run.model.method).__name__ == "OwnClassifier"
