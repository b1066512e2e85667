"""What a run keeps for its decision rules to choose on."""

from pathlib import Path

import numpy as np
import pytest

from retdm.errors import UserError
from retdm.runs.folder.paths import RunFolder
from retdm.runs.folder.rows import OUT_OF_FOLD, ChosenOn, chosen_on_of, read_chosen_on, write_chosen_on, write_rows

ROWS = {
    "index": np.array([4, 7]),
    "scores": np.array([[0.1, 0.9], [0.4, 0.2]], np.float32),
    "target": np.array([[0, 1], [1, 0]], np.float32),
    "known": np.array([[True, True], [False, True]]),
}


def test_what_is_written_is_read_and_cleared_with_the_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert read_chosen_on(folder) is None
    write_chosen_on(folder, ChosenOn(ROWS, OUT_OF_FOLD), ["a", "b"])
    found = read_chosen_on(folder)
    assert found is not None and found.source == OUT_OF_FOLD
    assert all(np.array_equal(found.rows[name], column) for name, column in ROWS.items())
    assert found.cells[2].dtype == bool
    assert [path.name for path in tmp_path.iterdir()] == ["validation.npz"]
    folder.clear()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["cut", "no source", "another shape"])
def test_a_damaged_file_is_told_with_the_command_that_writes_it(tmp_path: Path, damage: str) -> None:
    folder = RunFolder(tmp_path)
    labels = ["a", "b", "c"] if damage == "another shape" else ["a", "b"]
    write_chosen_on(folder, ChosenOn(ROWS, OUT_OF_FOLD), labels)
    if damage == "cut":
        folder.validation.write_bytes(folder.validation.read_bytes()[:90])
    elif damage == "no source":
        write_rows(folder.validation, ROWS, labels)
    with pytest.raises(UserError, match=r"validation.npz[^\n]*\nretdm test run=… writes it"):
        read_chosen_on(folder)


@pytest.mark.parametrize(("refit", "hint"), [(False, r"retdm test run=\S+ writes it"), (True, "refit=false")])
def test_a_run_that_keeps_nothing_says_what_is_missing_and_what_to_do(tmp_path: Path, refit: bool, hint: str) -> None:
    with pytest.raises(UserError, match=rf"decide=recall:0.9 chooses on \S+validation.npz, [^\n]*\n.*{hint}"):
        chosen_on_of(RunFolder(tmp_path), "decide=recall:0.9", refit=refit)
