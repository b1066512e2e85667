import json
from pathlib import Path
from typing import Any

import pytest

from retdm.training.history import append_epoch, keep_epochs, read_history


def line(epoch: int, **more: Any) -> dict[str, Any]:
    return {"epoch": epoch, "stage": "joint", "train": {"loss": 0.5}, "validation": {"mAP": 0.7}, **more}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for epoch in (1, 2, 3):
        append_epoch(tmp_path / "history.jsonl", line(epoch))
    return tmp_path / "history.jsonl"


def test_each_epoch_is_a_line_of_json_in_the_order_of_their_coming(path: Path) -> None:
    assert [json.loads(text) for text in path.read_text().splitlines()] == [line(1), line(2), line(3)]
    assert read_history(path) == [line(1), line(2), line(3)]


def test_a_run_that_has_written_none_has_no_epochs(tmp_path: Path) -> None:
    assert read_history(tmp_path / "history.jsonl") == []
    keep_epochs(tmp_path / "history.jsonl", 3)
    assert not (tmp_path / "history.jsonl").exists()


def test_what_a_kill_left_half_written_is_no_epoch_and_is_taken_out_where_the_run_goes_on(path: Path) -> None:
    path.write_text(path.read_text() + '{"epoch": 4, "stage": "jo')
    assert len(read_history(path)) == 3
    keep_epochs(path, 3)
    append_epoch(path, line(4))
    assert [each["epoch"] for each in read_history(path)] == [1, 2, 3, 4]


def test_epochs_that_are_trained_again_are_left_out(path: Path) -> None:
    keep_epochs(path, 1)
    assert read_history(path) == [line(1)]
    keep_epochs(path, 0)
    assert path.read_text() == ""


def test_what_is_no_number_is_null_for_json_has_no_such_number(tmp_path: Path) -> None:
    append_epoch(tmp_path / "h", line(1, train={"loss": float("inf"), "own_distance": float("nan"), "metric": 1.0}))
    (found,) = read_history(tmp_path / "h")
    assert found["train"] == {"loss": None, "own_distance": None, "metric": 1.0}


@pytest.mark.parametrize("text", ["[]", "7", '{"epoch": "one"}', '{"epoch": 1, "stage": "a", "train": []}', "\xff"])
def test_a_line_that_no_run_wrote_is_left_out(path: Path, text: str) -> None:
    path.write_text(f"{text}\n{path.read_text()}", encoding="latin-1")
    assert [each["epoch"] for each in read_history(path)] == [1, 2, 3]


def test_a_line_of_no_epoch_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(line(epoch)) + "\n" for epoch in (-5, 0, 1)))
    assert read_history(path) == [line(1)]
