import json
from pathlib import Path

import numpy as np
import pytest
from report_runs import read, write_run

from retdm.report.groups import flat, group_runs, short
from retdm.report.read import find_runs


def test_runs_that_differ_in_their_split_alone_are_one_group_in_the_order_of_splits(tmp_path: Path) -> None:
    for name, split in (("a", 10), ("b", 2), ("c", 0)):
        write_run(tmp_path / name, split)
    _, (group,) = read(tmp_path)
    assert (group.splits, group.name, group.varied) == ([0, 2, 10], "scene · bce · vgg16", {})


def test_of_two_runs_of_one_split_one_is_taken(tmp_path: Path) -> None:
    write_run(tmp_path / "a", test={"mAP": 0.9})
    write_run(tmp_path / "b", test={"mAP": 0.1})
    _, (group,) = read(tmp_path)
    assert group.criteria()["mAP"].tolist() == [0.9]


def test_groups_of_one_name_are_told_apart_by_the_settings_that_differ_among_them(tmp_path: Path) -> None:
    write_run(tmp_path / "a", method="retdm", settings={"weights": {"metric": 1.0}, "k": 10})
    write_run(tmp_path / "b", method="retdm", settings={"weights": {"metric": 0.1}, "k": 10})
    write_run(tmp_path / "c", method="bce", settings={"reduction": "mean"})
    _, groups = read(tmp_path)
    assert [group.name for group in groups] == [
        "scene · bce · vgg16",
        "scene · retdm · vgg16 · metric=0.1",
        "scene · retdm · vgg16 · metric=1.0",
    ]
    assert groups[1].varied == {"method.weights.metric": 0.1}


def test_numbers_in_names_are_sorted_by_size(tmp_path: Path) -> None:
    for size in (1000, 200, 30):
        write_run(tmp_path / str(size), train_size=size)
    _, groups = read(tmp_path)
    assert [group.varied["data.train_size"] for group in groups] == [30, 200, 1000]


def test_a_stages_rate_goes_by_the_key_of_the_command_line() -> None:
    stages = [{"name": "joint", "train": ["encoder"], "lr": 0.1}]
    assert flat({"method": {"stages": stages, "clip": {}}}) == {
        "method.stages.joint.name": "joint",
        "method.stages.joint.train": ["encoder"],
        "schedule.joint.lr": 0.1,
    }


def test_short_names_stay_apart_where_last_words_are_equal() -> None:
    assert short({"schedule.joint.lr": 1, "schedule.label.lr": None, "data.stratified": True}) == [
        "joint.lr=1", "label.lr=null", "stratified=true",
    ]  # fmt: skip


def test_mean_and_sample_deviation_over_splits(tmp_path: Path) -> None:
    for split, value in enumerate((0.1, 0.2, 0.6)):
        write_run(tmp_path / str(split), split, test={"mAP": value}, validation={"mAP": 1 - value})
    _, (group,) = read(tmp_path)
    mean, std = group.mean_std()["mAP"]
    assert mean == pytest.approx(0.3)
    assert std == pytest.approx(np.sqrt((0.04 + 0.01 + 0.09) / 2))
    assert group.mean_std("validation")["mAP"][0] == pytest.approx(0.7)


def test_what_is_undefined_in_one_split_has_no_mean_and_one_run_no_deviation(tmp_path: Path) -> None:
    write_run(tmp_path / "0", 0, test={"mAP": None})
    _, (alone,) = read(tmp_path)
    assert np.isnan(alone.mean_std()["O-F1"][1])
    write_run(tmp_path / "1", 1)
    _, (group,) = read(tmp_path)
    assert np.isnan(group.criteria()["mAP"]).tolist() == [True, False]
    assert np.isnan(group.mean_std()["mAP"][0])


def test_a_criterion_that_is_new_to_the_report_is_kept(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", test={"pointing_accuracy": 0.25})
    assert "pointing_accuracy" in json.loads((folder / "metrics.json").read_text())["test"]
    assert group_runs(find_runs([folder]))[0].mean_std()["pointing_accuracy"][0] == 0.25
