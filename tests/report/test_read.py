import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from report_runs import LABELS, read, write_run

from retdm.errors import UserError
from retdm.report.about import dataset_table, left_out
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


def text_as_index(run: Path) -> None:
    arrays = dict(np.load(run / "predictions.npz"))
    np.savez(run / "predictions.npz", **(arrays | {"index": np.array(["../x"] * len(arrays["index"]))}))


BOMB = b"a0: &a0 [x, x]\n" + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b"*a%d, " % (i - 1) * 9) for i in range(1, 12))

DAMAGES = {
    "predictions cut": (cut("predictions.npz"), "predictions.npz cannot be read"),
    "predictions empty": (write("predictions.npz", b""), "predictions.npz cannot be read"),
    "predictions flipped": (flip, "predictions.npz"),
    "predictions of other labels": (other_labels, "predictions.npz is not what a finished run wrote"),
    "predictions of text": (text_as_index, "predictions.npz is not what a finished run wrote"),
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
