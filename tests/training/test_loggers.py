import csv
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retdm.commands.train import train
from retdm.errors import UserError
from retdm.settings.run_settings import RunSettings
from retdm.training.loggers import NoLogger

Tiny = Callable[..., RunSettings]


def without_clocks(run: Path) -> tuple[Any, list[Any]]:
    metrics = json.loads((run / "metrics.json").read_text())
    lines = [json.loads(text) for text in (run / "history.jsonl").read_text().splitlines()]
    for each in (metrics, *metrics["stages"], *lines):
        for key in ("seconds", "seconds_in_all", "minutes", "images_per_second"):
            each.pop(key, None)
    return metrics, lines


def test_the_logger_changes_neither_results_nor_history_nor_the_folders_name(tiny: Tiny, tmp_path: Path) -> None:
    runs = {}
    for name in ("tensorboard", "csv", "none"):
        settings = tiny("method=bce", f"logger={name}", "schedule.end_to_end.max_epochs=2")
        assert settings.folder == tiny("method=bce", "schedule.end_to_end.max_epochs=2").folder
        runs[name] = train(settings.changed(run=str(tmp_path / name)))
    expected = without_clocks(runs["tensorboard"])
    assert without_clocks(runs["csv"]) == without_clocks(runs["none"]) == expected
    assert [line["epoch"] for line in expected[1]] == [1, 2]
    assert {"tensorboard", "csv"} & {path.name for path in runs["none"].iterdir()} == set()


def test_the_csv_file_has_losses_validation_criteria_and_the_result(tiny: Tiny) -> None:
    folder = train(tiny("method=bce", "logger=csv"))
    rows = list(csv.DictReader((folder / "csv" / "version_0" / "metrics.csv").open()))
    found = {name: float(value) for row in rows for name, value in row.items() if value}
    report = json.loads((folder / "metrics.json").read_text())
    assert found["train/classification"] > 0
    assert found["validation/mAP"] == pytest.approx(report["validation"]["mAP"])
    assert found["test/mAP"] == pytest.approx(report["test"]["mAP"])


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
@pytest.mark.parametrize("installed", [None, "a folder of that name"])
def test_a_package_that_is_not_installed_is_named_with_the_extra_that_brings_it(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, name: str, installed: str | None
) -> None:
    spec = installed and importlib.machinery.ModuleSpec(name, None, is_package=True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: spec)
    settings = tiny("method=bce", f"logger={name}")
    with pytest.raises(UserError, match=f"logger={name} needs a package") as error:
        train(settings)
    assert error.value.hint == f'pip install "retdm[{name}]"'
    assert not settings.folder.exists()


def test_a_logger_is_closed_when_its_run_ends_whatever_ends_it(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    monkeypatch.setattr(NoLogger, "close", lambda self: closed.append("closed"))
    train(tiny("method=bce", "logger=none"))
    assert closed == ["closed"]
    with pytest.raises(UserError, match="nothing to train"):
        train(tiny("method=bce", "logger=none", "method.weights.classification=0"))
    assert closed == ["closed", "closed"]
