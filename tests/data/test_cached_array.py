"""Arrays on disk: computed once, continued after a kill, and never believed when their bytes are others."""

import errno
import gc
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from retdm.commands import cache
from retdm.data import cached_array
from retdm.data.cached_array import CachedArray
from retdm.errors import UserError
from retdm.files import locked

SHAPE = (50, 7)
TRUE = np.arange(350, dtype=np.float32).reshape(SHAPE) + 1


class Killed(BaseException):
    """The end of a process, as far as files are concerned."""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_array, "BLOCK", 4 * 28)  # of four rows; 50 rows are 12 blocks and a half


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "0123456789abcdef.features"


def array(file: Path, fill: Any = None) -> CachedArray:
    def whole(into: np.ndarray, begun: int, save: Any) -> None:
        assert not into[begun:].any()
        into[begun:] = TRUE[begun:]

    return cached_array.cached_array(file, "the features", SHAPE, np.float32, fill or whole)


def killed_at(file: Path, rows: int) -> None:
    """Leave what a computation leaves that is killed after so many rows, and three that were not saved."""

    def fill(into: np.ndarray, begun: int, save: Callable[[int], None]) -> None:
        into[: rows + 3] = TRUE[: rows + 3]
        save(rows)
        raise Killed

    with pytest.raises(Killed):
        array(file, fill)
    assert not file.exists()


def begun_with(file: Path) -> int:
    """The row from which it is continued, to the end and rightly."""
    seen: list[int] = []

    def fill(into: np.ndarray, begun: int, save: Any) -> None:
        seen.append(begun)
        assert not into[begun:].any()
        into[begun:] = TRUE[begun:]

    np.testing.assert_array_equal(np.array(array(file, fill)), TRUE)
    assert sorted(each.suffix for each in file.parent.iterdir()) == [".features", ".lock", ".npz"]
    return seen[0]


def test_rows_are_those_of_an_array_however_they_are_asked_for(file: Path) -> None:
    found = array(file)
    assert (found.shape, found.ndim, len(found), found.dtype) == (SHAPE, 2, 50, np.float32)
    for rows in (3, -1, slice(None), slice(5, 9), np.array([49, 0, 3, 3, -2]), np.array([], int), TRUE[:, 0] > 200):
        np.testing.assert_array_equal(found[rows], TRUE[rows])
    with pytest.raises(ValueError, match="read-only"):
        found[0][0] = 1
    with pytest.raises(IndexError):
        found[50]


def test_it_is_computed_once_and_sent_as_its_place(file: Path) -> None:
    found = array(file)
    again = array(file, lambda *_: pytest.fail("computed again"))
    sent = pickle.dumps(again)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent)[10:20], TRUE[10:20])
    assert again.blocks.content == found.blocks.content


@pytest.mark.parametrize("row", range(0, 50, 7))
def test_a_changed_byte_is_found_when_its_row_is_read_and_other_rows_are_not_held_up(file: Path, row: int) -> None:
    array(file)
    with file.open("r+b") as opened:
        opened.seek(28 * row + 5)
        opened.write(b"\xff")
    found = array(file)
    np.testing.assert_array_equal(found[[(row + 25) % 50]], TRUE[[(row + 25) % 50]])
    for rows in (row, slice(None), np.array([(row + 25) % 50, row])):
        with pytest.raises(UserError, match=rf"\(the features\) is damaged: block {row // 4} has a wrong checksum"):
            found[rows]


@pytest.mark.parametrize("damage", ["short", "long", "gone", "empty notes", "half notes", "zeros"])
def test_a_damaged_file_is_named_and_what_the_message_says_helps(file: Path, damage: str) -> None:
    array(file)
    content, notes = file.read_bytes(), file.with_suffix(".npz")
    match damage:
        case "short":
            file.write_bytes(content[:-1])
        case "long":
            file.write_bytes(content + b"\0")
        case "gone":
            file.unlink()
        case "empty notes":
            notes.write_bytes(b"")
        case "half notes":
            notes.write_bytes(notes.read_bytes()[:99])
        case "zeros":
            file.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    with pytest.raises(UserError, match="is damaged") as error:
        array(file)[:]
    assert f"retdm cache clear {file.parent}" in error.value.hint
    cache.main(["clear", str(file.parent)])
    np.testing.assert_array_equal(array(file)[:], TRUE)


@pytest.mark.parametrize(("rows", "expected"), [(0, 0), (3, 0), (4, 4), (30, 28), (47, 44)])
def test_it_goes_on_from_the_last_whole_block_before_a_kill(file: Path, rows: int, expected: int) -> None:
    killed_at(file, rows)
    assert begun_with(file) == expected


@pytest.mark.parametrize(
    ("damage", "expected"),
    [("shorter", 0), ("longer", 0), ("flipped", 8), ("gone", 0), ("place is none", 0), ("place says more", 28)],
)
def test_what_a_kill_left_is_believed_as_far_as_its_checksums_go(
    file: Path, damage: str, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    killed_at(file, 30)
    part, place = file.with_name(file.name + ".part"), file.with_suffix(".place")
    content = bytearray(part.read_bytes())
    if damage == "shorter":
        part.write_bytes(content[:-28])
    elif damage == "longer":
        part.write_bytes(content + bytes(28))
    elif damage == "flipped":
        content[28 * 9] ^= 1
        part.write_bytes(content)
    elif damage == "gone":
        part.unlink()
    elif damage == "place is none":
        place.write_text("30")
    else:
        longer = np.append(np.load(place), np.zeros(5, np.uint32))
        with place.open("wb") as opened:
            np.save(opened, longer)
    assert begun_with(file) == expected
    assert ("has changed since" in caplog.text) == (damage != "gone")


def test_a_disk_that_is_too_small_or_full_is_reported_and_nothing_is_left(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1399))
        with pytest.raises(UserError, match=r"the features: 1.4e-06 GB are needed in .*, where 1.4e-06 GB are free"):
            array(file)

    def full(*ignored: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("posix_fallocate", "fsync"):  # before anything is computed, and at the end
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(UserError, match=r"the features cannot be written: .*cache: No space left on device"):
                array(file)
        assert [each.suffix for each in file.parent.iterdir()] == [".lock"]
    np.testing.assert_array_equal(array(file)[:], TRUE)


def test_the_disks_room_is_taken_before_anything_is_computed(file: Path) -> None:
    taken: list[int] = []

    def fill(into: np.ndarray, begun: int, save: Any) -> None:
        part = file.with_name(file.name + ".part").stat()
        taken.append(512 * part.st_blocks)

    array(file, fill)
    assert taken[0] >= TRUE.nbytes


def in_a_child(work: Callable[[], object]) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    return process.exitcode


def test_clearing_leaves_what_another_process_reads_or_builds(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def clear() -> None:
        cache.main(["clear", str(file.parent)])

    reader = array(file)
    with locked(file.with_name("fedcba9876543210.lock")):
        assert in_a_child(clear) == 0
        clear()
    assert "2 caches, 0 MB, removed but for 2 that running processes use" in capsys.readouterr().out
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader))[:], TRUE)
    del reader
    clear()
    assert not list(file.parent.iterdir())


def test_a_lock_whose_file_was_removed_while_one_waited_is_taken_anew(tmp_path: Path) -> None:
    path, context = tmp_path / "lock", multiprocessing.get_context("fork")
    waits = context.Event()

    def second() -> None:
        waits.set()
        with locked(path):
            assert path.exists()

    with locked(path):
        process = context.Process(target=second)
        process.start()
        assert waits.wait(60)
        path.unlink()
    process.join(60)
    assert process.exitcode == 0


@pytest.mark.filterwarnings("error")
def test_one_that_is_forgotten_leaves_no_file_open(file: Path) -> None:
    array(file)
    gc.collect()  # an unclosed file would be a warning here
