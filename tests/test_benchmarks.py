"""Every script under benchmarks/ runs in its smallest setting, so that published figures can be made again."""

import importlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import rich

import retdm

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALLEST = {
    "start": "repeats=1",
    "step": "batch=8 size=32 steps=1 rounds=1",
    "loading": "images=32 side=64 size=32 batch=8 rounds=1",
    "logistic": "penalty=l2 rows=200 features=200 labels=2 splits=1",
    "feature_scales": "set=synthetic splits=1 scales=raw,stages tolerances=1e-1 folder=there "
    "words='data.size=60 data.image_size=32 backbone=vgg_small backbone.weights=none'",
    "label_errors": "set=synthetic rates=.1 seeds=0 planted=both "
    "words='data.size=60 data.image_size=32 backbone=vgg_small backbone.weights=none'",
    "growth": "methods=bag_embedding bags=12 instances=3 features=3 labels=2 limit=0 repeat=1",
    "fuzz": "files=2",
    "against_scripts": "set=synthetic size=40 passes=1 seeds=0 splits=0 ways=probe,adamw,fastai,bce,retdm,control "
    "backbone=vgg_small weights=none image_size=32 root= words= folder=there",
    "backbones": "names=test_vit size=32 sizes= images=1 repeat=1",
    "imbalance": "set=synthetic splits=1 epochs=1 rates=0.001 ways=bce,focal "
    "words='data.size=60 data.image_size=32 backbone=vgg_small backbone.weights=none'",
    "near_duplicates": "set=synthetic images=4 "
    "words='data.size=40 data.image_size=32 backbone=vgg_small backbone.weights=none'",
    "weak_labels": "set=synthetic splits=1 observe=share:.6 rates=0.03,0.1 ways=complete,hill,role,asymmetric "
    "words='data.size=60 data.image_size=32 backbone=vgg_small backbone.weights=none schedule.end_to_end.min_steps=0'",
    "synthetic_difficulty": "--size 60 --side 16 --network --epochs 1 --threads 1",
}
NOT_HERE = {
    "scene_bag_order",  # needs the Scene set as published, all of it
    "deployed",  # needs a trained run: tests/commands/test_export.py has one
    "intervals",  # needs trained runs: tests/report/uncertainty/test_paired.py makes some
    "decisions",  # needs trained runs: tests/commands/test_decide.py has one
    "probabilities",  # likewise
    "against_mapie",  # needs a trained run, and MAPIE
    "benchmark_options",  # no script: the command lines of the others
    "benchmark_results",  # no script either: what the others keep and print
    "frozen_features",  # nor this: data and methods of those that train many
    "kills",  # needs processes: tests/commands/test_kills.py has them
}


def test_every_benchmark_is_known_here() -> None:
    there = {file.stem for file in BENCHMARKS.glob("*.py")}
    assert there == set(SMALLEST) | NOT_HERE


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "step" else pytest.mark.slow) for name in SMALLEST]
)
def test_a_benchmark_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # given back at the end, as what is set here by growth.py
    monkeypatch.setattr(rich.get_console(), "quiet", False)
    monkeypatch.setattr(sys, "argv", [name, *shlex.split(SMALLEST[name])])
    monkeypatch.chdir(tmp_path)
    importlib.import_module(name).main()
    said = capsys.readouterr().out
    assert any(character.isdigit() for character in said), "no figure was printed"


def test_a_comparison_with_scripts_continues_where_it_was_killed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    against: Any = importlib.import_module("against_scripts")
    words = SMALLEST["against_scripts"].split()
    lines = []
    for ways in ("probe", "probe,adamw", "adamw,probe"):
        asked = [f"ways={ways}" if word.startswith("ways=") else word for word in words]
        monkeypatch.setattr(sys, "argv", ["against_scripts", *asked, f"folder={tmp_path}"])
        against.main()
        lines.append((tmp_path / "results.jsonl").read_text().splitlines())
    assert lines[0] == lines[1][:1] and lines[1] == lines[2]
    found = [json.loads(line) for line in lines[2]]
    assert [line["way"] for line in found] == ["probe", "adamw"]
    printed = {row[0]: row[1] for row in map(str.split, capsys.readouterr().out.splitlines()) if row}
    for line in found:
        assert 0 < line["mAP"] <= 1 and line["cpu"] >= 0 and line["images"]["train"] == 29
        assert printed[line["way"]] == f"{line['mAP']:.3f}"


@pytest.mark.slow
def test_losses_for_missing_labels_are_trained_as_by_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.chdir(tmp_path)
    words = "data.size=60 data.image_size=32 backbone=vgg_small backbone.weights=none schedule.end_to_end.min_steps=0"
    asked = ["set=synthetic", "splits=1", "observe=single_positive", "rates=0.1", "ways=role", f"words={words}"]
    monkeypatch.setattr(sys, "argv", ["weak_labels", *asked])
    importlib.import_module("weak_labels").main()
    line = json.loads((tmp_path / "weak_labels.jsonl").read_text().splitlines()[-1])
    candidate = next(each for each in line["candidates"] if not each["setting"])
    more = "data=synthetic method=role precompute=true schedule=precomputed schedule.end_to_end.lr=0.1 logger=none"
    run = retdm.train(f"{words} {more} data.observe=single_positive")
    assert candidate["mAP"] == run.metrics["test"]["mAP"]
    assert candidate["complete"]["validation mAP"] == run.metrics["validation"]["mAP"]
    assert candidate["complete"]["O-F1"] == run.metrics["test_validation_threshold"]["O-F1"]
