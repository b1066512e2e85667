"""A run that cannot go well, or did not, says so."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from retdm.batch import Batch
from retdm.commands.train import train
from retdm.methods.base import Predictions
from retdm.methods.deep import DeepMethod
from retdm.runs import advice
from retdm.runs.folder.paths import RunFolder
from retdm.settings.compose import compose_settings
from retdm.settings.run_settings import RunSettings

LABELS = ["cat", "dog", "garden"]


class Scorer(nn.Module):
    """Scores images by a table of its own; the decision rule is ``half``."""

    device, labels, decide = torch.device("cpu"), LABELS, "half"

    def __init__(self, table: np.ndarray) -> None:
        super().__init__()
        self.table = torch.from_numpy(table)

    def prepared(self, batch: Batch) -> Batch:
        return batch

    def predictions(self, batch: Batch) -> Predictions:
        assert not self.training
        return Predictions(batch.index, self.table[batch.index], batch.target, batch.known)


def data_of(target: np.ndarray, batch_size: int = 64) -> Any:
    """As much of a data module as the warnings look at, all rows for training."""
    known = torch.ones(target.shape, dtype=torch.bool)

    def batches_of(rows: np.ndarray) -> Any:
        index = torch.from_numpy(rows)
        yield Batch(index, torch.zeros(len(rows), 1), torch.from_numpy(target)[index].float(), known[index])

    return SimpleNamespace(splits={"train": np.arange(len(target))}, batch_size=batch_size, batches_of=batches_of)


@pytest.fixture
def target() -> np.ndarray:
    return (np.random.default_rng(0).random((120, 3)) < 0.3).astype(np.uint8)


def report(silent: int, threshold: float | None = 0.21) -> dict[str, Any]:
    row = {"P": 0.5, "R": 0.5, "F1": 0.5, "AP": 0.5, "positives": 4, "predicted": 3}
    rows = {name: row | ({"predicted": 0} if place < silent else {}) for place, name in enumerate(LABELS)}
    return {"per_label": rows | {"rare": {"positives": 0, "predicted": 0}}} | {"threshold": threshold}


def test_the_map_of_perfect_scores_is_1_and_shuffled_near_the_share_of_positives(target: np.ndarray) -> None:
    reached, by_chance = advice.training_map(Scorer(target.astype(np.float32)), data_of(target))  # type: ignore[arg-type]
    assert reached == 1
    assert by_chance == pytest.approx(target.mean(), abs=0.08)


@pytest.mark.parametrize(("learned", "told"), [(False, True), (True, False)])
def test_scores_that_say_nothing_of_training_images_are_told(
    target: np.ndarray, caplog: pytest.LogCaptureFixture, learned: bool, told: bool
) -> None:
    table = target if learned else np.random.default_rng(1).random(target.shape)
    advice.warn_of_result(Scorer(table.astype(np.float32)), data_of(target), report(0))  # type: ignore[arg-type]
    assert ("learned next to nothing" in caplog.text) == told


@pytest.mark.parametrize(
    ("silent", "says"),
    [
        (3, "no label is predicted for the test split under decide: half, though it has them: cat, dog, garden."),
        (1, "1 of 3 labels are never predicted for the test split under decide: half, though it has them: cat."),
        (0, None),
    ],
)
def test_labels_that_are_never_predicted_are_told_with_what_helps(
    target: np.ndarray, caplog: pytest.LogCaptureFixture, silent: int, says: str | None
) -> None:
    advice.warn_of_result(Scorer(target.astype(np.float32)), data_of(target), report(silent))  # type: ignore[arg-type]
    if says is None:
        assert not caplog.text
    else:
        assert says in caplog.text
        assert "method.decide=validation decides at the threshold that is best on validation (0.21)" in caplog.text


def test_few_steps_are_counted_and_told_with_settings_that_help(caplog: pytest.LogCaptureFixture) -> None:
    method = SimpleNamespace(stages=[SimpleNamespace(name="end_to_end", max_epochs=10)])
    data = data_of(np.zeros((144, 3)))
    advice.warn_of_few_steps(method, data)  # type: ignore[arg-type]
    assert "only 30 optimizer steps (144 training rows, data.batch_size=64, 10 epochs)" in caplog.text
    assert (
        "schedule.end_to_end.max_epochs=70, data.batch_size=8, or a pretrained backbone and schedule=fine_tune"
        in caplog.text
    )
    caplog.clear()
    method.stages[0].max_epochs = 67  # 201 steps
    advice.warn_of_few_steps(method, data)  # type: ignore[arg-type]
    assert not caplog.text


def test_what_changes_nothing_in_a_run_that_ends_at_the_probe_is_told(caplog: pytest.LogCaptureFixture) -> None:
    for name, probable, rare, told in (
        ("bce", True, None, ""),
        ("bce", False, None, "so method.loss changes"),
        ("role", False, None, "so method=role changes"),
        ("role", True, 0.1, "rare=0.1 ch"),
    ):
        caplog.clear()
        method: Any = SimpleNamespace(estimates_probabilities=probable)
        data: Any = SimpleNamespace(repeat_rare=rare)
        own: Any = SimpleNamespace(method={"loss": "hill"} if name == "bce" else {}, choices={"method": name})
        advice.warn_of_unused(own, method, data)
        assert told in caplog.text and bool(told) == bool(caplog.text)


def test_a_run_says_all_in_its_log(tiny: Callable[..., RunSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "training_map", lambda method, data: (0.3, 0.3))
    text = Path(train(tiny("method=bce", "data.observe=positives_only:1")), "log.txt").read_text()
    assert "WARNING no training label is known to be absent" in text
    assert "WARNING only 3 optimizer steps (43 training rows" in text
    assert "WARNING it has learned next to nothing: mAP 0.300" in text


@pytest.mark.parametrize(("words", "told"), [(("schedule=fine_tune",), True), (("schedule=from_scratch",), False)])
def test_a_probe_of_random_features_is_told(
    caplog: pytest.LogCaptureFixture, words: tuple[str, ...], told: bool
) -> None:
    advice.warn_of_random_features(compose_settings(["method=bce", *words]))
    assert ("schedule=from_scratch trains all of it" in caplog.text) == told


def test_the_next_steps_keep_the_words_of_the_command_but_its_place(tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text(json.dumps({"validation": ["a"] * advice.FEW}))
    run, places = RunFolder(tmp_path), [f"run={tmp_path}", "overwrite=true"]

    def steps(*words: str) -> list[str]:
        return [command for command, _ in advice.next_steps(compose_settings([*words, *places]), run)]

    predict = f"retdm predict run={tmp_path} images=<folder> gallery=true"
    longer = "retdm train data=scene 'tags=[my run]' schedule=best"
    assert steps("data=scene", "tags=[my run]") == [predict, longer]
    assert steps("data=scene", "schedule=quick") == [predict]
    assert steps("data=scene_bags") == []
    (tmp_path / "split.json").write_text(json.dumps({"validation": ["a"] * (advice.FEW - 1)}))
    assert steps("data=scene_bags") == ["retdm train -m data=scene_bags data.folds=5 'data.fold=range(5)'"]
    assert steps("data=scene_bags", "data.folds=3") == []


def deep(unknown: str) -> Any:
    method = object.__new__(DeepMethod)
    object.__setattr__(method, "unknown_at_the_probe", unknown)
    return method


@pytest.mark.parametrize("kind", ["left_out", "absent", "fitted"])
@pytest.mark.parametrize("cells", ["complete", "positives", "a negative"])
def test_labels_that_the_method_makes_nothing_of_are_told_with_what_helps(
    target: np.ndarray, caplog: pytest.LogCaptureFixture, kind: str, cells: str
) -> None:
    known = {"complete": target >= 0, "positives": target > 0, "a negative": target > 0}[cells]
    if cells == "a negative":
        known[tuple(np.argwhere(target == 0)[0])] = True
    source = SimpleNamespace(targets=np.vstack([target, target]), known=np.vstack([known, target >= 0]))
    data: Any = SimpleNamespace(source=source, splits={"train": np.arange(len(target))})  # the other half is complete
    method: Any = object() if kind == "fitted" else deep(kind)
    words = {"loss": {"name": "hill", "margin": 1}} if kind == "absent" else {}
    settings: Any = SimpleNamespace(method=words, data={"unlabelled": "unknown"}, choices={"method": "bce"})
    advice.warn_of_training_labels(settings, method, data)
    nothing_unknown = kind == "absent" and cells == "complete"
    trap = kind != "absent" and cells == "positives"
    assert (
        "no training label is unknown, so method.loss=hill has nothing to work on" in caplog.text
    ) == nothing_unknown
    assert ("positives_only:1 makes unknown" in caplog.text) == nothing_unknown
    assert ("no training label is known to be absent" in caplog.text) == trap
    assert ("method=role, or data.unlabelled=negative" in caplog.text) == trap
    assert len(caplog.records) == nothing_unknown + trap


def test_a_loss_for_unknown_labels_is_told_who_took_them_for_absent(caplog: pytest.LogCaptureFixture) -> None:
    data: Any = data_of(np.ones((4, 3), np.uint8))
    data.source = SimpleNamespace(targets=np.ones((4, 3), np.uint8), known=np.ones((4, 3), bool))
    settings: Any = SimpleNamespace(method={}, data={"unlabelled": "negative"}, choices={"method": "role"})
    advice.warn_of_training_labels(settings, deep("absent_without_negatives"), data)
    assert "so method=role has nothing to work on: data.unlabelled=negative takes unknown ones for" in caplog.text
