"""How a finished run decided, and what it keeps to decide anew."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import in_process
from PIL import Image

import retdm
from retdm.commands.train import train
from retdm.criteria import evaluate
from retdm.decisions.calibration import calibrated, fit_calibration
from retdm.decisions.rules import rule_of
from retdm.errors import UserError
from retdm.report.read import read_run
from retdm.report.redecide import redecided
from retdm.runs.folder.paths import RunFolder
from retdm.runs.folder.rows import BEFORE_REFIT, VALIDATION, ChosenOn, read_chosen_on
from retdm.settings.run_settings import RunSettings

Tiny = Callable[..., RunSettings]
RULE = ["method=bce", "method.decide=precision:.6", "schedule.joint.max_epochs=1"]


def metrics(folder: Path, name: str = "metrics") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return found


def kept(folder: Path) -> ChosenOn:
    found = read_chosen_on(RunFolder(folder))
    assert found is not None
    return found


def criteria_at(folder: Path, threshold: Any) -> dict[str, float | None]:
    """Criteria of the test split under ``RULE`` at a threshold."""
    rows = np.load(folder / "predictions.npz")
    predicted = rule_of("precision:.6").apply(rows["scores"], threshold)
    cells = rows["target"], rows["known"].astype(bool)
    return evaluate(rows["scores"], *cells, rows["labels"].tolist(), predicted)["criteria"]


def test_a_run_decides_by_what_it_chose_on_validation_and_so_do_its_test_its_model_and_its_refit(tiny: Tiny) -> None:
    settings = tiny(*RULE)
    with pytest.raises(UserError, match=r"refit=true, decide=precision:0.6: .*\nrun the same with refit=false first"):
        train(tiny(*RULE, "refit=true"))
    folder = train(settings)
    report, rows = metrics(folder), kept(folder)
    assert rows.source == VALIDATION and len(rows.rows["index"]) < 50
    decision = report["decision"]
    threshold = rule_of("precision:.6").choose(*rows.cells)
    assert decision == {"rule": "precision:0.6", "threshold": threshold, "chosen_on": VALIDATION}
    expected = criteria_at(folder, threshold)
    assert {name: report["test"][name] for name in expected} == expected

    assert in_process("test.py", f"run={folder}").code == 0
    again = metrics(folder, "test")
    assert again["decision"]["threshold"] == pytest.approx(threshold)
    assert again["test"] == pytest.approx(report["test"], abs=1e-6)

    refit = train(tiny(*RULE, "refit=true"))
    assert metrics(refit)["decision"] == decision | {"chosen_on": BEFORE_REFIT}
    assert np.array_equal(kept(refit).rows["scores"], rows.rows["scores"])
    assert criteria_at(refit, threshold).items() <= metrics(refit)["test"].items()
    assert in_process("test.py", f"run={refit}").code == 0
    assert metrics(refit, "test")["decision"] == metrics(refit)["decision"]

    refit.joinpath("metrics.json").unlink()  # the checkpoint has it too
    model = retdm.load(refit)
    assert model.decision().threshold == threshold
    assert model.decision("recall:.9").threshold == rule_of("recall:.9").choose(*rows.cells)
    images = [np.zeros((16, 16, 3), np.uint8)]
    assert model.predict(images, decide="top2") != model.predict(images, decide="top1")
    with pytest.raises(UserError, match="no decision rule 'top'"):
        model.predict(images, decide="top")


def test_a_fitted_method_that_is_refitted_keeps_what_it_predicted_before(tiny_l1lr: Tiny) -> None:
    plain, refit = train(tiny_l1lr()), train(tiny_l1lr("refit=true"))
    assert (kept(plain).source, kept(refit).source) == (VALIDATION, BEFORE_REFIT)
    assert np.array_equal(kept(plain).rows["scores"], kept(refit).rows["scores"])
    assert in_process("test.py", f"run={refit}").code == 0
    assert kept(refit).source == BEFORE_REFIT


def test_a_run_calibrates_on_validation_and_so_do_its_test_its_model_and_its_refit(tiny_l1lr: Tiny) -> None:
    words = ["method.calibrate=platt", "method.decide=validation"]
    folder = train(tiny_l1lr(*words))
    report, rows, tested = metrics(folder), kept(folder), np.load(folder / "predictions.npz")
    how = fit_calibration("platt", *rows.cells)
    decision = report["decision"]
    assert decision["calibration"] == how and decision["threshold"] == report["threshold"]
    scores = calibrated(how, rows.rows["scores"])
    assert report["threshold"] == rule_of("validation").choose(scores, *rows.cells[1:])
    assert np.array_equal(tested["scores"], calibrated(how, tested["raw_scores"]))
    known = tested["known"].astype(bool)
    predicted = tested["scores"] >= report["threshold"]
    expected = evaluate(tested["scores"], tested["target"], known, tested["labels"].tolist(), predicted)["criteria"]
    assert report["test"] == expected

    assert in_process("test.py", f"run={folder}").code == 0
    assert metrics(folder, "test")["decision"]["calibration"]["slope"] == pytest.approx(how["slope"])
    model = retdm.load(folder)
    images = [np.full((16, 16, 3), value, np.uint8) for value in (0, 128)]
    views = torch.stack([model.view(Image.fromarray(each)) for each in images])
    assert np.array_equal(model.predict(images), calibrated(how, model.raw_scores(views)))
    assert model.decision("recall:.9").threshold == rule_of("recall:.9").choose(scores, *rows.cells[1:])

    refit = train(tiny_l1lr(*words, "refit=true"))
    assert metrics(refit)["decision"]["calibration"] == how and metrics(refit)["threshold"] == report["threshold"]
    found, _ = redecided(read_run(folder), ["half"], "temperature")  # type: ignore[arg-type]
    scores = calibrated(fit_calibration("temperature", *rows.cells), tested["raw_scores"])
    labels = tested["labels"].tolist()
    assert found[1].criteria == evaluate(scores, tested["target"], known, labels, scores >= 0.5)["criteria"]


def test_a_run_promises_a_risk_only_where_it_can(tiny_l1lr: Tiny) -> None:
    folder = train(tiny_l1lr("method.decide=missed:.4"))
    assert metrics(folder)["decision"]["threshold"] == rule_of("missed:.4").choose(*kept(folder).cells)
    assert retdm.load(folder).decision().rule.name == "missed:0.4"
    with pytest.raises(UserError, match=r"missed:0.01 needs at least 99 images"):
        train(tiny_l1lr("method.decide=missed:.01"))
    with pytest.raises(UserError, match=r"guarantees nothing here: .* before it was trained on too"):
        train(tiny_l1lr("method.decide=missed:.4", "refit=true"))
    with pytest.raises(UserError, match=r"guarantees nothing with calibrate=platt"):
        tiny_l1lr("method.decide=missed:.4", "method.calibrate=platt")


def test_a_calibration_that_is_none_leaves_the_folder_of_a_run_where_it_was(tiny: Tiny) -> None:
    plain = tiny("method=bce")
    assert "calibrate" not in plain.identity["method"] and plain.method["calibrate"] == "none"
    assert tiny("method=bce", "method.calibrate=platt").folder != plain.folder
