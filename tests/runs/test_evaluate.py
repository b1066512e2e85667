"""How a finished run decided, and what it keeps to decide anew."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import in_process

import retdm
from retdm.commands.train import train
from retdm.criteria import evaluate
from retdm.decisions.rules import rule_of
from retdm.errors import UserError
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
