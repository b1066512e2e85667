"""The first command that a user types, and the one that it names as the next."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from command_line import TINY_NET, in_process, start
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from retdm.criteria import CRITERIA

# Batches of 8 make enough steps for the curves, which take every tenth.
COMMAND = (*TINY_NET, "data.size=120", "data.batch_size=8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder of the commands, which is not the project's."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def said(place: Path) -> str:
    """What ``train.py`` prints."""
    done = start("train.py", *COMMAND, folder=place)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(place: Path, said: str) -> Path:
    (config,) = place.glob("outputs/synthetic/retdm/*/config.yaml")
    return config.parent


@pytest.fixture(scope="module")
def curves(run: Path) -> EventAccumulator:
    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return found


def test_each_epoch_is_a_line_with_its_stage_and_its_losses_by_name(said: str) -> None:
    lines = [line for line in said.splitlines() if line.startswith("epoch ")]
    stages = ("classification", "label_embedding", "joint")
    losses = (["classification"], *[["classification", "metric", "reconstruction"]] * 2)
    assert len(lines) == 3
    for number, line, stage, names in zip((1, 2, 3), lines, stages, losses, strict=True):
        before, after = line.split("|")[:2]
        assert re.match(rf"epoch +{number}  {stage}  lr ", before), line
        assert re.findall(r"(\w+) \d+\.\d{4}", before) == names, line
        assert re.search(r"validation loss \d+\.\d{4}  mAP [01]\.\d{3}  O-F1 [01]\.\d{3}", after), line
        assert re.search(r"\| \d+ images/s$", line), line


def test_the_table_has_every_criterion_under_both_rules_as_metrics_json_has_it(said: str, run: Path) -> None:
    report = json.loads((run / "metrics.json").read_text())
    table = said[said.index("criterion ") :].splitlines()[1:]
    for name, line in zip(CRITERIA, table, strict=False):
        shown = [report[key][name] for key in ("test", "test_validation_threshold", "validation")]
        value, *others = ("–" if value is None else f"{value:.4f}" for value in shown)
        ends = report["intervals"]["test"][name]
        interval = [] if ends is None else [f"{ends[0]:.3f}", "to", f"{ends[1]:.3f}"]
        assert line.split() == [name, value, *interval, *others]


def test_the_run_folder_has_every_file_that_is_promised_and_nothing_half_written(run: Path) -> None:
    files = "config.yaml split.json history.jsonl metrics.json predictions.npz report.html log.txt"
    folders = "checkpoints tensorboard pictures"
    assert {path.name for path in run.iterdir()} >= {*files.split(), *folders.split()}
    assert {path.name for path in (run / "checkpoints").iterdir()} >= {"best.ckpt", "last.ckpt"}
    assert list((run / "pictures").glob("*.png"))
    assert not list(run.rglob("*.part"))
    assert not (run / "error.txt").exists()


def test_split_and_predictions_are_of_the_same_images(run: Path) -> None:
    split = json.loads((run / "split.json").read_text())
    rows = np.load(run / "predictions.npz")
    assert sorted(split["train"] + split["validation"] + split["test"]) == [f"{i:05d}" for i in range(120)]
    assert [f"{i:05d}" for i in rows["index"]] == split["test"]
    assert rows["scores"].shape == rows["target"].shape == (24, len(rows["labels"]))


def test_the_log_file_has_what_the_screen_had(said: str, run: Path) -> None:
    log = (run / "log.txt").read_text()
    assert all(line in log for line in said.splitlines() if line.startswith("epoch "))


def test_tensorboard_has_the_losses_of_steps_and_the_validations_of_the_history(
    curves: EventAccumulator, run: Path
) -> None:
    steps = {f"train/{loss}" for loss in ("classification", "metric", "reconstruction", "loss")}
    work = {"work/stage", "work/lr", "work/epoch", "work/images_per_second"}
    assert steps | work <= set(curves.Tags()["scalars"])
    assert all(point.value > 0 for name in steps for point in curves.Scalars(name))
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    for name in ("mAP", "loss", "O-F1"):
        expected = [line["validation"][name] for line in lines]
        assert [point.value for point in curves.Scalars(f"validation/{name}")] == pytest.approx(expected, rel=1e-6)


def test_tensorboard_opens_on_losses_and_criteria(curves: EventAccumulator) -> None:
    tags = curves.Tags()
    groups = sorted({tag.split("/")[0] for tag in (*tags["scalars"], *tags["images"])})
    assert groups == ["test", "train", "validation", "view", "work"]  # the first two are open


def test_tensorboard_shows_the_stages_in_order(curves: EventAccumulator) -> None:
    seen = [point.value for point in curves.Scalars("work/stage")]
    assert seen == sorted(seen)
    assert set(seen) == {0, 1, 2}


def test_tensorboard_has_pictures_and_the_settings_beside_the_result(curves: EventAccumulator, run: Path) -> None:
    assert curves.Tags()["images"]
    content = curves.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    names = sorted(HParamsPluginData.FromString(content).session_start_info.hparams)
    assert names[:4] == ["1 method", "2 data", "3 split", "4 backbone"]
    (shown,) = curves.Scalars("test/mAP")
    report = json.loads((run / "metrics.json").read_text())
    assert shown.value == pytest.approx(report["test"]["mAP"], rel=1e-6)  # TensorBoard keeps float32


def test_the_page_to_open_is_named_before_the_commands_to_try(place: Path, said: str, run: Path) -> None:
    lines = said.splitlines()
    (line,) = [line for line in lines if line.startswith("page ")]
    assert line.split() == [
        "page",
        str(run.relative_to(place) / "report.html"),
        *["#", "open", "it", "in", "a", "browser"],
    ]
    assert lines[lines.index(line) + 1].startswith("next ")
    assert "<title>retdm on synthetic</title>" in (run / "report.html").read_text()


def test_the_last_line_is_the_next_command_and_in_another_process_it_finds_the_same_criteria(
    place: Path, said: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = said.splitlines()[-1]
    assert last == f"retdm test run={run.relative_to(place)}"
    monkeypatch.chdir(place)
    done = in_process(*last.split()[1:])
    assert done.code == 0, done.err
    report, again = (json.loads((run / name).read_text()) for name in ("metrics.json", "test.json"))
    for key in ("test", "test_validation_threshold", "validation", "threshold", "per_label"):
        assert again[key] == report[key], f"{key} is not the same to the last bit"
