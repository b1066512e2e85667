import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from report_runs import LABELS, read, write_run

from retdm.errors import UserError
from retdm.report.about import dataset_table, left_out
from retdm.report.groups import flat, group_runs, short
from retdm.report.read import find_runs


def test_runs_are_found_below_a_folder_and_other_config_files_are_passed_over(tmp_path: Path) -> None:
    write_run(tmp_path / "scene" / "bce" / "a")
    (tmp_path / "config.yaml").write_text("model: someone else's\n")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.yaml").write_text("a: [")
    assert [run.folder for run in find_runs([tmp_path])] == [tmp_path / "scene" / "bce" / "a"]


def test_a_run_that_two_named_folders_hold_is_read_once(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    assert len(find_runs([tmp_path, tmp_path / "a", tmp_path / ".." / tmp_path.name])) == 1


def test_a_missing_folder_and_one_without_a_run_are_the_users_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder .*nowhere"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="no run in"):
        find_runs([tmp_path])


def cut(name: str) -> Callable[[Path], object]:
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[:-40])


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda run: (run / name).write_bytes(content)


def set_in(name: str, *keys: str, value: object) -> Callable[[Path], object]:
    def change(run: Path) -> None:
        content = yaml.safe_load((run / name).read_text())
        node = content
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value
        (run / name).write_text(json.dumps(content))

    return change


def flip(run: Path) -> None:
    content = bytearray((run / "predictions.npz").read_bytes())
    content[300] ^= 255
    (run / "predictions.npz").write_bytes(content)


def other_labels(run: Path) -> None:
    arrays = dict(np.load(run / "predictions.npz"))
    np.savez(run / "predictions.npz", **(arrays | {"labels": np.array(["a", "b", "c"])}))


BOMB = b"a0: &a0 [x, x]\n" + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b"*a%d, " % (i - 1) * 9) for i in range(1, 12))

DAMAGES = {
    "predictions cut": (cut("predictions.npz"), "predictions.npz cannot be read"),
    "predictions empty": (write("predictions.npz", b""), "predictions.npz cannot be read"),
    "predictions flipped": (flip, "predictions.npz"),
    "predictions of other labels": (other_labels, "predictions.npz is not what a finished run wrote"),
    "metrics cut": (cut("metrics.json"), "metrics.json is not JSON"),
    "metrics empty": (write("metrics.json", b""), "metrics.json is not JSON"),
    "metrics {}": (write("metrics.json", b"{}"), "metrics.json is not what a finished run wrote"),
    "metrics of text": (
        set_in("metrics.json", "test", "mAP", value="x"),
        "metrics.json is not what a finished run wrote",
    ),
    "no images": (set_in("metrics.json", "images", value=None), "metrics.json is not what a finished run wrote"),
    "test.json": (write("test.json", b"[]"), "test.json is not what a run writes"),
    "split cut": (cut("split.json"), "split.json is not JSON"),
    "split {}": (write("split.json", b'{"train": 3}'), "split.json is not what a run writes"),
    "config cut": (write("config.yaml", b"data: {"), "config.yaml is not a run's config.yaml"),
    "config a bomb": (write("config.yaml", BOMB + b"identity: {}\nchoices: *a11\n"), "is not a run's config.yaml"),
    "no choices": (set_in("config.yaml", "choices", value=None), "is not a run's config.yaml"),
    "choices a list": (set_in("config.yaml", "choices", "data", value=[1]), "is not a run's config.yaml"),
    "split a word": (set_in("config.yaml", "data", "split", value="x"), "is not a run's config.yaml"),
    "stages a word": (set_in("config.yaml", "identity", "method", "stages", value="x"), "is not a run's config.yaml"),
    "provenance": (set_in("config.yaml", "provenance", value=[1]), "is not a run's config.yaml"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_run_is_left_out_and_named(tmp_path: Path, name: str) -> None:
    damage, says = DAMAGES[name]
    write_run(tmp_path / "a", 0)
    damage(write_run(tmp_path / "b", 1))
    runs, (group,) = read(tmp_path)
    assert [run.state for run in runs] == ["finished", "damaged"]
    assert [run.folder.name for run in group.runs] == ["a"]
    (line,) = left_out(runs, [group])
    assert line.startswith(f"Left out: {tmp_path / 'b'} is damaged: ") and says in line
    assert dataset_table(runs).rows


def test_an_error_that_is_no_text_in_utf_8_is_told_as_it_can_be(tmp_path: Path) -> None:
    (write_run(tmp_path / "a", finished=False) / "error.txt").write_bytes(b"caf\xe9 is full")
    (run,) = find_runs([tmp_path])
    assert (run.state, run.error) == ("failed", "caf\N{REPLACEMENT CHARACTER} is full")


def test_a_run_tells_what_its_folder_holds(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 3, method="retdm", train_size=60)
    (run,), _ = read(tmp_path)
    assert (run.state, run.data, run.method, run.backbone) == ("finished", "scene", "retdm", "vgg16")
    assert (run.split, run.train_size, run.minutes, run.labels) == (3, 60, 1.5, LABELS)
    assert run.sizes == {"train": 72, "validation": 8, "test": 20}
    assert run.predictions()["target"].shape == (20, 3)


def test_state_follows_metrics_then_error(tmp_path: Path) -> None:
    write_run(tmp_path / "a", error="an earlier start failed")
    write_run(tmp_path / "b", finished=False, error="no space left")
    write_run(tmp_path / "c", finished=False)
    runs, groups = read(tmp_path)
    assert [run.state for run in runs] == ["finished", "failed", "unfinished"]
    assert [run.folder.name for group in groups for run in group.runs] == ["a"]
    assert (runs[2].labels, runs[2].minutes) == ([], None)


def test_predictions_with_pickled_objects_are_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    np.savez(folder / "predictions.npz", scores=np.array([{"a": 1}], object))
    (run,) = find_runs([folder])
    assert run.state == "damaged" and "predictions.npz cannot be read" in str(run.damage)


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
