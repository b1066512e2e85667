"""Two runs on the same test images, and runs that cannot be compared image by image."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import rich
import yaml
from report_runs import read, write_run

from retdm.criteria import evaluate, paired_difference, resample
from retdm.errors import UserError
from retdm.report.one_run.evaluated import evaluated
from retdm.report.uncertainty.intervals import interval_tables
from retdm.report.uncertainty.paired import paired_bootstrap, paired_tables

LABELS = ["cat", "dog", "owl"]
ONE_AND_OTHER = (("bce", 0.5), ("asl", 3.0))


def made(folder: Path, method: str, noise: float, split: int = 0, labels: list[str] = LABELS, seed: int = 0) -> Path:
    """A run whose scores are the truth and some noise, on the images of its split."""
    g = np.random.default_rng(split)
    target = (g.random((60, len(labels))) < 0.4).astype(np.float32)
    scores = 1 / (1 + np.exp(-(3 * target - 1.5 + noise * np.random.default_rng(seed).normal(size=target.shape))))
    arrays = {"index": 60 * split + np.arange(60), "scores": scores, "target": target, "known": target > -1}
    found = evaluate(scores, target, target > -1, labels, scores >= 0.5)
    metrics = {"test": found["criteria"], "per_label": found["per_label"], "threshold": 0.5}
    metrics["intervals"] = {"test": {"mAP": [0.25 + split / 10, 0.75], "O-F1": None}}
    return write_run(
        folder, split, method=method, labels=labels, sizes=(180, 60, 60), settings={"decide": "half"}, metrics=metrics,
        arrays=arrays,
    )  # fmt: skip


def test_a_pair_is_compared_on_the_first_split_that_both_have(tmp_path: Path) -> None:
    for split in (1, 2):
        made(tmp_path / f"good{split}", "bce", 0.5, split)
    for split in (0, 1, 2):
        made(tmp_path / f"bad{split}", "asl", 3.0, split, seed=1)
    runs, groups = read(tmp_path)
    (table,), unlike = paired_tables(groups, ["mAP", "O-F1"])
    assert unlike == []
    assert [row[:2] for row in table.rows] == [
        ["asl · vgg16 − bce · vgg16", "mAP ↑"],
        ["asl · vgg16 − bce · vgg16", "O-F1 ↑"],
    ]
    assert {tuple(row[5:]) for row in table.rows} == {("60", "split 1")}
    assert table.bold == {(0, 4), (1, 4)}  # the noise is great
    by_name = {run.folder.name: run for run in runs}
    found = paired_bootstrap(by_name["bad1"], by_name["good1"], ["mAP"])["mAP"]
    values = []
    for name in ("bad1", "good1"):
        rows = by_name[name].predictions()
        sets = rows["scores"] >= 0.5
        values.append(resample(rows["scores"], rows["target"], rows["known"], sets).criteria["mAP"])
    assert found is not None and found == paired_difference(values[0], values[1])
    assert table.rows[0][2] == f"{found.value:.4f}".replace("0.", ".", 1)


def test_runs_that_test_other_images_or_labels_are_refused_and_the_report_says_why(tmp_path: Path) -> None:
    runs = {}
    for name, split, labels in (("a", 0, LABELS), ("b", 1, LABELS), ("c", 0, ["x", "y", "z"]), ("d", 0, LABELS)):
        made(tmp_path / name / name, "bce", 0.5, split, labels)
        runs[name] = read(tmp_path / name)[0][0]
    split = json.loads((tmp_path / "d" / "d" / "split.json").read_text())
    (tmp_path / "d" / "d" / "split.json").write_text(json.dumps(split | {"fingerprint": "other"}))
    for name, message in (("b", "test other images"), ("c", "have other labels"), ("d", "were made with other images")):
        with pytest.raises(UserError, match=message):
            paired_bootstrap(runs["a"], runs[name], ["mAP"])
    (tmp_path / "a" / "a" / "predictions.npz").unlink()
    with pytest.raises(UserError, match="left no predictions"):
        paired_bootstrap(runs["a"], runs["b"], ["mAP"])


def test_two_splits_of_one_method_alone_are_said_to_test_other_images(tmp_path: Path) -> None:
    for split in (0, 1):
        made(tmp_path / f"run{split}", "bce", 0.5, split)
    tables, unlike = paired_tables(read(tmp_path)[1], ["mAP"])
    assert tables == [] and len(unlike) == 1 and "test other images" in unlike[0]


def test_two_runs_are_compared_though_a_setting_of_the_data_differs(tmp_path: Path) -> None:
    folders = [made(tmp_path / name, name, noise, seed=place) for place, (name, noise) in enumerate(ONE_AND_OTHER)]
    config = yaml.safe_load((folders[1] / "config.yaml").read_text())
    config["identity"]["data"]["newer"] = True
    (folders[1] / "config.yaml").write_text(yaml.safe_dump(config))
    (table,), unlike = paired_tables(read(tmp_path)[1], ["mAP"])
    assert len(table.rows) == 1 and unlike == []
    made(tmp_path / "alone" / "a", "bce", 1.0)
    made(tmp_path / "alone" / "b", "asl", 1.0, labels=["x", "y", "z"])
    tables, unlike = paired_tables(read(tmp_path / "alone")[1], ["mAP"])
    assert tables == [] and len(unlike) == 1 and "have other labels" in unlike[0]


def test_of_many_groups_none_is_resampled_without_a_baseline(tmp_path: Path) -> None:
    for place, method in enumerate(("bce", "asl", "lr", "mil", "retdm")):
        made(tmp_path / method, method, 1.0, seed=place)
    groups = read(tmp_path)[1]
    assert paired_tables(groups, ["mAP"]) == ([], [])
    (table,), _ = paired_tables(groups, ["mAP"], "lr")
    assert len(table.rows) == 4


def test_the_benchmark_counts_the_intervals_that_hold_the_mean_over_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, noise in enumerate((0.5, 3.0, 3.5)):
        made(tmp_path / f"run{split}", "bce", noise, split, seed=split)
    runs = read(tmp_path)[0]
    found = [each for run in runs if (each := evaluated(run)) is not None]
    values = [each.found["criteria"]["O-F1"] or 0 for each in found]
    ends = [each.intervals.criteria["O-F1"] or (0, 0) for each in found]
    mean = sum(values) / 3
    below, above = sum(high < mean for _, high in ends), sum(low > mean for low, _ in ends)
    assert above > 0
    monkeypatch.setattr(sys, "argv", ["intervals", str(tmp_path)])
    monkeypatch.setattr(rich.get_console(), "quiet", False)
    importlib.import_module("benchmarks.intervals").main()
    printed = capsys.readouterr().out
    assert "3 splits, 60 test images" in printed
    (row,) = [line.split() for line in printed.splitlines() if line.startswith("O-F1")]
    assert row[1] == f"{mean:.3f}" and row[6:] == [str(3 - below - above), "of", "3", f"{below},", str(above)]


def test_intervals_of_runs_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    for split in (0, 1):
        made(tmp_path / f"run{split}", "bce", 0.5, split)
    write_run(tmp_path / "old", 3, method="lr")
    (table,) = interval_tables(read(tmp_path)[1])
    cells = {row[0]: row[1:] for row in table.rows}
    assert table.columns[1:] == ["bce · vgg16", "lr · vgg16"]
    assert cells["runs"] == ["2", "0"]
    assert cells["mAP ↑"] == [".300 to .750", ""]  # the mean of .25 and .35
    assert cells["O-F1 ↑"] == ["", ""]
    write_run(tmp_path / "alone" / "old", method="lr")
    assert interval_tables(read(tmp_path / "alone")[1]) == []
