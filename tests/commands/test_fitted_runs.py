"""Runs of fitted methods: what they leave, that they evaluate again to the last bit, and what ``refit`` does."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from command_line import in_process

import retdm
from retdm.commands.train import train
from retdm.data.observe import observation_of
from retdm.errors import UserError
from retdm.runs.build import build_data, build_method, precompute
from retdm.settings.run_settings import RunSettings

Tiny = Callable[..., RunSettings]


def test_a_run_leaves_what_every_run_leaves_and_is_evaluated_again_to_the_last_bit(tiny_l1lr: Tiny) -> None:
    folder = train(tiny_l1lr("refit=true"))
    report = json.loads((folder / "metrics.json").read_text())
    assert report["selected"].keys() == set(report["per_label"])
    assert in_process("test.py", f"run={folder}").code == 0
    again = json.loads((folder / "test.json").read_text())
    for key in ("test", "test_validation_threshold", "validation", "per_label", "threshold"):
        assert again[key] == report[key]
    rows = np.load(folder / "predictions.npz")
    model, data = retdm.load(folder), build_data(tiny_l1lr("refit=true"))
    scores = model.predict([data.source.read(int(i)) for i in rows["index"]])
    np.testing.assert_allclose(scores, rows["scores"], atol=1e-6)


def test_refit_fits_to_validation_too_and_keeps_the_results_of_validation(tiny_l1lr: Tiny) -> None:
    reports, hidden = {}, "data.observe=share:.7"  # of the rows that it is fitted to
    for refit in ("false", "true"):
        folder = train(tiny_l1lr(f"refit={refit}", hidden))
        reports[refit] = json.loads((folder / "metrics.json").read_text())
    assert reports["true"]["validation"] == reports["false"]["validation"]
    assert reports["true"]["threshold"] == reports["false"]["threshold"]
    given = tiny_l1lr("refit=true", hidden)
    data, method = build_data(given), build_method(given, ["x"] * 5)
    examples, _, known = precompute(given, data, method).examples("train", "validation")
    rows = data.rows_of("train", "validation")
    seen, kept = observation_of("share:.7").apply(
        build_data(tiny_l1lr()).source.targets, np.ones_like(data.source.known), 0
    )
    assert not np.array_equal(known, kept[rows])
    method.fit(examples, seen[rows], kept[rows])  # type: ignore[operator]
    saved = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]["coefficients"]
    assert torch.equal(saved, method.coefficients)


def test_a_deep_run_with_refit_trains_on_validation_and_reports_none(tiny: Tiny) -> None:
    folder = train(tiny("method=bce", "refit=true"))
    report = json.loads((folder / "metrics.json").read_text())
    assert report["validation"] is None and report["threshold"] is None and report["test"]["mAP"] > 0
    assert "those of validation too" in (folder / "log.txt").read_text()
    with pytest.raises(UserError, match="refit=true: stage end_to_end"):
        train(tiny("method=bce", "refit=true", "schedule.end_to_end.rule=plateau"))


def test_several_processes_are_refused(tiny_l1lr: Tiny) -> None:
    given = tiny_l1lr()
    given.trainer["devices"] = 2
    with pytest.raises(UserError, match="l1lr is fitted by one process, not by 2"):
        train(given)
