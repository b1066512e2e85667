"""Many runs by one command: a failed one stops no other, and the same command runs only what is missing."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from command_line import TINY, Done, in_process

from retdm.commands.sweep import per_job

SIZES = ("20", "1000", "30")  # there are not so many images, which only the data can say
SWEEP = ("-m", f"data.train_size={','.join(SIZES)}", *TINY)
FITTED = tuple(word for word in TINY if not word.startswith(("method.", "schedule=")))
REASON = "data.train_size=1000, but there are 43 training images (60 in all, 12 for testing, 5 for validation)"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def done(place: Path) -> Done:
    with contextlib.chdir(place):
        return in_process("train.py", *SWEEP)


@pytest.fixture
def there(place: Path, done: object, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the sweep, entered, after it."""
    monkeypatch.chdir(place)
    return place


def test_a_failed_job_stops_no_other_and_the_sweep_ends_non_zero(there: Path) -> None:
    runs = sorted((there / "outputs/synthetic/retdm").iterdir())
    assert len(runs) == 3
    assert sum((run / "metrics.json").exists() for run in runs) == 2
    (failed,) = [run for run in runs if not (run / "metrics.json").exists()]
    assert (failed / "error.txt").read_text().startswith(REASON + "\n")


def test_the_sweep_says_on_one_line_that_it_failed(done: Done) -> None:
    assert done.code == 1
    assert done.err.splitlines() == ["error: 1 of 3 runs failed; the same command tries them again"]


def test_the_table_has_all_jobs_and_the_reason_of_the_failed_one(done: Done) -> None:
    table = done.out[done.out.index("3 runs: ") :]
    rows = [line.split() for line in table.splitlines() if line.startswith("data.train_size=")]
    assert [row[:2] for row in rows if row[1] == "failed"] == [["data.train_size=1000", "failed"]]
    assert [row[0].partition("=")[2] for row in rows[:3]] == list(SIZES)
    assert f"data.train_size=1000 failed: {REASON}" in table.splitlines()


def test_the_table_shows_what_metrics_json_holds(there: Path, done: Done) -> None:
    records = [json.loads(path.read_text()) for path in sorted(there.glob("outputs/.sweeps/*/[0-9]*.json"))][:3]
    for size, record in zip(SIZES, records, strict=True):
        assert f"data.train_size={size}" in record["overrides"]
        if size == "1000":
            assert record["run"] is None
            assert record["error"] == REASON
        else:
            assert record["error"] is None
            mean_ap = json.loads((Path(record["run"]) / "metrics.json").read_text())["test"]["mAP"]
            row = next(line for line in done.out.splitlines() if line.startswith(f"data.train_size={size} "))
            assert row.split()[1] == f"{mean_ap:.4f}"


def test_the_same_command_runs_only_what_is_missing(there: Path) -> None:
    finished = {path: path.stat().st_mtime_ns for path in there.glob("outputs/synthetic/retdm/*/metrics.json")}
    again = in_process("train.py", *SWEEP)
    assert again.code == 1
    assert again.out.count("finished already: ") == 2
    assert "epoch " not in again.out
    assert f"data.train_size=1000 failed: {REASON}" in again.out.splitlines()
    assert {path: path.stat().st_mtime_ns for path in there.glob("outputs/synthetic/retdm/*/metrics.json")} == finished


def test_a_sweep_whose_runs_are_all_finished_ends_well(there: Path) -> None:
    done = in_process("train.py", "-m", "data.train_size=20,30", *TINY)
    assert done.code == 0
    assert done.err == ""
    assert "failed" not in done.out


def test_runs_of_a_sweep_cannot_share_a_folder(there: Path) -> None:
    done = in_process("train.py", "-m", "run=here", "seed=0,1", *TINY)
    assert done.code == 1
    assert done.err.splitlines() == ["error: 2 of 2 runs failed; the same command tries them again"]
    assert "seed=0 failed: run=<folder> is one run's own place" in done.out.splitlines()
    assert not (there / "here").exists()


def test_a_sweep_over_splits_of_a_fitted_method_is_a_line_a_split_and_their_mean(tmp_path: Path) -> None:
    words = ["-m", "method=l1lr", "data.split=0,1,2", f"outputs={tmp_path}", *FITTED]
    done = in_process("train.py", *words)
    assert done.code == 0, done.err
    lines = [line for line in done.out.splitlines() if line.strip() and not line.startswith("warning: ")]
    splits = [line for line in lines if line.startswith("synthetic · l1lr · vgg_small · split ")]
    assert len(splits) == 3 and lines[:3] == splits
    found = [json.loads(path.read_text())["test"]["mAP"] for path in sorted(tmp_path.rglob("metrics.json"))]
    assert " ".join(lines[-2].split()).startswith(f"mean of 3 {np.mean(found):.4f} ")
    assert " ".join(lines[-1].split()).startswith(f"± standard deviation {np.std(found, ddof=1):.4f} ")


def test_swept_methods_take_a_key_that_the_default_one_has_not(tmp_path: Path) -> None:
    keys = ["method.instances=grid", "method.grid=2", "method.words=4"]
    words = ["-m", "method=bag_of_words,mimlsvm", *keys[:2], f"outputs={tmp_path}", *FITTED]
    done = in_process("train.py", *words)
    assert done.code == 0, done.err
    configs = [yaml.safe_load(path.read_text()) for path in sorted(tmp_path.rglob("config.yaml"))]
    assert [(one["method"]["instances"], one["method"]["grid"]) for one in configs] == [("grid", 2)] * 2
    done = in_process("train.py", *words, keys[2])
    assert done.code == 2
    assert done.err.splitlines()[0] == "error: method.words is not a setting"


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (["method=a", "method.k=1"], {}),
        (["-m", "method.k=1", "method.x=1,2"], {}),  # no group is swept
        (["-m", "method=a,b", "method.k=1"], {"method.k=1": "method.k=choice(1)"}),
        (["--multirun", "experiment=glob(a*)", "data.d={e:1}"], {"data.d={e:1}": "data.d=choice({e:1})"}),
        (["-m", "method=a,b", "seed=1", "+method.k=1", "~method.j", "method.x=1,2", "hydra.verbose=true"], {}),
        (["-m", "method=a,b", "method.k=null", "method.j="], {}),  # Hydra knows no choice of nothing
        (["-m", "method=a,b", "method.k=[1"], {}),  # what cannot be read is told of by Hydra
    ],
)
def test_keys_wait_for_their_job_where_their_group_may_be_swept(words: list[str], changed: dict[str, str]) -> None:
    assert per_job(words) == [changed.get(word, word) for word in words]
