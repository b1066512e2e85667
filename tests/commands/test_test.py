"""``test.py``: the settings and folders that it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import check_message, in_process

from retdm.commands.train import train


@pytest.mark.parametrize("command", ["test.py", "predict", "export"])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "which run? run=<folder> is missing"),
        (("run=null",), "which run? run=<folder> is missing"),
        (("run=",), "run= names no folder"),
    ],
)
def test_a_command_on_a_run_asks_for_it(command: str, arguments: tuple[str, ...], says: str) -> None:
    assert says in check_message(in_process(command, *arguments))


def test_testing_refuses_a_folder_without_a_run(tmp_path: Path) -> None:
    assert f"there is no run in {tmp_path}" in check_message(in_process("test.py", f"run={tmp_path}"))


def test_testing_refuses_a_run_that_has_not_reached_its_last_stage(copy: Path) -> None:
    (copy / "checkpoints" / "best.ckpt").unlink()
    assert "has no best.ckpt" in check_message(in_process("test.py", f"run={copy}"))


def test_testing_refuses_a_truncated_checkpoint(copy: Path) -> None:
    best = copy / "checkpoints" / "best.ckpt"
    best.write_bytes(best.read_bytes()[:1000])
    assert f"the checkpoint cannot be read: {best}" in check_message(in_process("test.py", f"run={copy}"))
    assert not (copy / "test.json").exists()


def test_criteria_of_retrieval_are_printed_and_written_where_they_are_asked_for(copy: Path) -> None:
    assert in_process("test.py", f"run={copy}").code == 0
    assert "retrieval" not in json.loads((copy / "test.json").read_text())
    done = in_process("test.py", f"run={copy}", "retrieval=true")
    assert done.code == 0, done.err
    found = json.loads((copy / "test.json").read_text())["retrieval"]
    assert found.keys() == {"by_image", "by_label_set"}
    for name, row in found.items():
        words = [
            f"{row['precision_at_10']:.4f}",
            f"{row['mAP']:.4f}",
            str(row["queries"]),
            str(row["without_relevant"]),
        ]
        (line,) = [line for line in done.out.splitlines() if line.startswith(f"retrieval {name.replace('_', ' ')} ")]
        assert line.split()[-4:] == words
    assert done.out.splitlines()[-1] == f"wrote {copy / 'test.json'}"


def test_retrieval_of_a_method_that_learns_no_embedding_is_refused(tiny_l1lr: Callable[..., Any]) -> None:
    folder = train(tiny_l1lr())
    message = check_message(in_process("test.py", f"run={folder}", "retrieval=true"))
    assert "retrieval=true: l1lr learns no embedding of images" in message


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("+foo=1", "foo is not a setting of test"),
        ("+own_classes=true", "own_classes has another name\n  it is user_classes now"),
        ("per_label=perhaps", "per_label=perhaps is not true or false"),
        ("trainer.devises=2", "trainer.devises is not a setting\n  did you mean devices?"),
        ("+data.batch_sise=2", "data.batch_sise is not a setting of synthetic\n  did you mean batch_size?"),
        ("data.workers=many", "data.workers=many is not a whole number of at least 0 or null"),
    ],
)
def test_testing_refuses_a_wrong_setting(copy: Path, argument: str, says: str) -> None:
    assert says in check_message(in_process("test.py", f"run={copy}", argument))
