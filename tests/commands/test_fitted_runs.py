"""Runs of fitted methods: what they leave, that they evaluate again to the last bit, and what ``refit`` does."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import in_process

import retdm
from retdm.commands.train import train
from retdm.errors import UserError
from retdm.runs.build import build_data, build_method, precompute
from retdm.settings.run_settings import RunSettings

Tiny = Callable[..., RunSettings]


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)


@pytest.fixture
def settings(tiny: Tiny, tmp_path: Path) -> Tiny:
    """Settings of a tiny run of ``l1lr`` with a cache of its own."""

    def make(*more: str) -> RunSettings:
        found = tiny("method=l1lr", *more)
        found.data["cache"] = str(tmp_path / "cache")
        return found

    return make


def test_a_run_leaves_what_every_run_leaves_and_is_evaluated_again_to_the_last_bit(settings: Tiny) -> None:
    folder = train(settings("refit=true"))
    report = json.loads((folder / "metrics.json").read_text())
    assert report["selected"].keys() == set(report["per_label"])
    assert in_process("test.py", f"run={folder}").code == 0
    again = json.loads((folder / "test.json").read_text())
    for key in ("test", "test_validation_threshold", "validation", "per_label", "threshold"):
        assert again[key] == report[key]
    rows = np.load(folder / "predictions.npz")
    model, data = retdm.load(folder), build_data(settings("refit=true"))
    scores = model.predict([data.source.read(int(i)) for i in rows["index"]])
    np.testing.assert_allclose(scores, rows["scores"], atol=1e-6)


def test_refit_fits_to_validation_too_and_keeps_the_results_of_validation(settings: Tiny) -> None:
    reports = {}
    for refit in ("false", "true"):
        folder = train(settings(f"refit={refit}"))
        reports[refit] = json.loads((folder / "metrics.json").read_text())
    assert reports["true"]["validation"] == reports["false"]["validation"]
    assert reports["true"]["threshold"] == reports["false"]["threshold"]
    given = settings("refit=true")
    data, method = build_data(given), build_method(given, ["x"] * 5)
    data = precompute(given, data, method)
    method.fit(*data.examples("train", "validation"))  # type: ignore[operator]
    saved = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]["coefficients"]
    assert torch.equal(saved, method.coefficients)


def test_a_deep_run_with_refit_trains_on_validation_and_reports_none(tiny: Tiny) -> None:
    folder = train(tiny("method=bce", "refit=true"))
    report = json.loads((folder / "metrics.json").read_text())
    assert report["validation"] is None and report["threshold"] is None and report["test"]["mAP"] > 0
    assert "those of validation too" in (folder / "log.txt").read_text()
    with pytest.raises(UserError, match="refit=true: stage end_to_end"):
        train(tiny("method=bce", "refit=true", "schedule.end_to_end.rule=plateau"))


def test_several_processes_are_refused(settings: Tiny) -> None:
    given = settings()
    given.trainer["devices"] = 2
    with pytest.raises(UserError, match="l1lr is fitted by one process, not by 2"):
        train(given)
