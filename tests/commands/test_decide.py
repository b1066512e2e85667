"""``retdm decide``: a finished run under other rules, without training."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import ROOT, Done, in_process

from retdm.commands.flags import with_names_quoted
from retdm.criteria import evaluate
from retdm.decisions.calibration import calibrated, fit_calibration
from retdm.decisions.conformal import Risk, conformal_threshold, losses
from retdm.decisions.rules import rule_of
from retdm.runs.folder.paths import RunFolder
from retdm.runs.folder.rows import OUT_OF_FOLD, VALIDATION, read_chosen_on

RISKS: tuple[Risk, ...] = ("missed", "extra")


def command(*arguments: str) -> Done:
    return in_process("decide", *arguments)


@pytest.fixture
def finished(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_a_run_keeps_what_its_rule_chose_on_and_says_how_it_decided(finished: Path) -> None:
    kept = read_chosen_on(RunFolder(finished))
    report = json.loads((finished / "metrics.json").read_text())
    assert report["decision"] == {"rule": "half", "threshold": 0.5, "chosen_on": None}
    assert kept is not None and kept.source in (VALIDATION, OUT_OF_FOLD)
    assert rule_of("validation").choose(*kept.cells) == report["threshold"]


def test_each_rule_has_a_row_and_its_thresholds_are_in_the_file(finished: Path) -> None:
    done = command(f"run={finished}", "rule=per_label_f1,precision:.9,top2", "per_label=true")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == f"retdm decide run={finished}" and lines[-1].startswith("wrote ")
    for start in ("half (the run's own)", "per_label_f1", "precision:0.9", "top2", "label"):
        assert any(line.startswith(start) for line in lines), start
    found = json.loads((finished / "decide.json").read_text())
    kept = read_chosen_on(RunFolder(finished))
    assert kept is not None and found["images"] == len(kept.rows["index"])
    assert [row["rule"] for row in found["rules"]] == ["per_label_f1", "precision:0.9", "top2"]
    assert found["rules"][0]["threshold"] == rule_of("per_label_f1").choose(*kept.cells)
    assert found["rules"][1]["floor"]["wished"] == 0.9
    metrics = json.loads((finished / "metrics.json").read_text())
    assert found["own"]["test"] == pytest.approx({name: metrics["test"][name] for name in found["own"]["test"]})


def test_every_kind_of_rule_is_compared_where_none_is_named(finished: Path) -> None:
    done = command(f"run={finished}")
    found = json.loads((finished / "decide.json").read_text())
    assert done.code == 0 and len(found["rules"]) == 7
    named = command(f"run={finished}", "rule=[top1,recall:.9]")
    assert named.code == 0 and len(json.loads((finished / "decide.json").read_text())["rules"]) == 2


def test_calibrations_are_compared_and_one_of_them_is_decided_by(finished: Path) -> None:
    kept = read_chosen_on(RunFolder(finished))
    assert kept is not None
    words = with_names_quoted([f"run={finished}", "rule=half", "calibrate=temperature,platt,isotonic"], "calibrate")
    done = command(*words)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    for start in (
        "calibrate, on test",
        "none",
        "temperature",
        "platt",
        "isotonic",
        "rule, on test",
        "half (the run's own)",
    ):
        assert any(line.startswith(start) for line in lines), start
    assert "with few positives or negatives, and so mostly as all labels together" in done.out
    found = json.loads((finished / "decide.json").read_text())["calibrations"]
    assert [each["calibration"] for each in found] == [
        None,
        *(fit_calibration(kind, *kept.cells) for kind in ("temperature", "platt", "isotonic")),
    ]
    assert command(f"run={finished}", "rule=half", "calibrate=platt").code == 0
    rows, found = np.load(finished / "predictions.npz"), json.loads((finished / "decide.json").read_text())
    scores = calibrated(fit_calibration("platt", *kept.cells), rows["scores"])
    cells = rows["target"], rows["known"].astype(bool), rows["labels"].tolist()
    assert found["rules"][0]["test"] == evaluate(scores, *cells, scores >= 0.5)["criteria"]
    assert found["calibrate"] == "platt" and found["own"]["test"] != found["rules"][0]["test"]


def test_a_promise_is_shown_with_what_test_gave(finished: Path) -> None:
    path = finished / "validation.npz"
    rows = dict(np.load(path))
    np.savez(path, **rows | {"source": np.array(VALIDATION)})
    done = command(f"run={finished}", "rule=[missed:.5,extra:.5]")
    assert done.code == 0, done.err
    assert re.search(r"missed:0.5 +≤ 0.5 +0\.\d+ +0\.\d+\n", done.out)
    kept, tested = read_chosen_on(RunFolder(finished)), np.load(finished / "predictions.npz")
    for found, risk in zip(json.loads((finished / "decide.json").read_text())["rules"], RISKS, strict=True):
        assert kept is not None and found["threshold"] == conformal_threshold(*kept.cells, risk, 0.5)
        for part, each in (("validation", kept.rows), ("test", tested)):
            loss = losses(each["scores"] >= found["threshold"], each["target"], each["known"].astype(bool), risk)
            assert found["guarantee"][part] == pytest.approx(loss.mean())
    np.savez(path, **rows | {"source": np.array(OUT_OF_FOLD)})
    done = command(f"run={finished}", "rule=missed:.5")
    assert done.code == 2 and done.err.startswith("error: missed:0.5 guarantees nothing here: its threshold would be")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run={run}", "rule=halv"], "there is no decision rule 'halv'\n  did you mean half?"),
        (["run={run}", "rule=top3,precision>=.9"], "there is no decision rule 'precision>=.9'\n  precision:.9 is one"),
        (["run={run}", "calibrate=plat"], "there is no calibration 'plat'\n  did you mean platt?"),
        (["rule=top3"], "which run? run=<folder> is missing"),
        (["run=nowhere"], "there is no run in nowhere"),
        (["run={run}", "rules=top3"], "rules is not a setting"),
    ],
)
def test_what_cannot_be_is_refused(finished: Path, arguments: list[str], says: str) -> None:
    done = command(*with_names_quoted([word.format(run=finished) for word in arguments], "rule"))
    assert done.code == 2 and done.err.startswith(f"error: {says}") and len(done.err.splitlines()) <= 6


def test_an_older_run_is_told_how_it_gets_what_is_missing_and_gets_it(finished: Path) -> None:
    before = read_chosen_on(RunFolder(finished))
    (finished / "validation.npz").unlink()
    done = command(f"run={finished}", "rule=per_label_f1")
    assert done.code == 2 and "validation.npz, which is not there\n  retdm test run=" in done.err
    assert in_process("test.py", f"run={finished}").code == 0
    after = read_chosen_on(RunFolder(finished))
    assert before is not None and after is not None and after.source == VALIDATION
    np.testing.assert_allclose(after.rows["scores"], before.rows["scores"], atol=1e-6)
    assert json.loads((finished / "test.json").read_text())["decision"]["rule"] == "half"


def test_an_unfinished_run_is_refused(finished: Path) -> None:
    (finished / "metrics.json").unlink()
    done = command(f"run={finished}")
    assert done.code == 2 and "there is no finished run in" in done.err


def test_the_benchmark_says_how_often_a_floor_was_met(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["decisions.py", str(finished)])
    importlib.import_module("benchmarks.decisions").main()
    said = capsys.readouterr().out
    assert said.startswith("synthetic: 1 runs, 5 labels, chosen on ")
    assert re.search(r"recall:0.95 .* 1 of 1 .* of 5\.0", said)


def test_the_benchmark_says_what_calibration_gives_and_which_promises_are_refused(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = dict(np.load(finished / "validation.npz"))
    np.savez(finished / "validation.npz", **rows | {"source": np.array(VALIDATION)})
    monkeypatch.setattr(sys, "argv", ["probabilities.py", str(finished)])
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    importlib.import_module("benchmarks.probabilities").main()
    said = capsys.readouterr().out
    assert said.startswith(f"synthetic, retdm: 1 runs, chosen on {len(rows['index'])} images (validation)")
    assert re.search(r"platt +0\.\d+ +0\.\d+ ", said) and re.search(r"missed:0\.1 +refused", said)
    assert re.search(r"missed:0\.2 +0\.\d+ +0\.\d+ +[01] of 1 ", said)


def test_no_pytorch_is_needed(finished: Path) -> None:
    program = (
        "import sys\n"
        "from retdm.__main__ import run\n"
        f"sys.argv = ['retdm', 'run={finished}']\n"
        "try: run('decide')\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
