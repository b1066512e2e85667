"""Atomic writes, locks, and damage that is found."""

import errno
import os
import zipfile
from pathlib import Path

import pytest

from retdm.files import all_or_none, atomic, damaged_record, locked, shared, write_json


def test_a_file_is_on_the_disk_before_it_has_its_name_and_so_is_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    fsync = os.fsync

    def watched(opened: int) -> None:
        seen.append((Path(os.readlink(f"/proc/self/fd/{opened}")).name, (tmp_path / "a" / "x.json").exists()))
        fsync(opened)

    monkeypatch.setattr(os, "fsync", watched)
    write_json(tmp_path / "a" / "x.json", {"b": 1})
    assert seen == [("x.json.part", False), ("a", True)]
    assert (tmp_path / "a" / "x.json").read_text() == '{\n "b": 1\n}\n'


def test_after_an_error_the_old_file_stands_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("old")

    def fill() -> None:
        with atomic(file) as part:
            part.write_text("half")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full") as error:
        fill()
    assert error.value.filename == str(file)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "old")]


def test_nothing_is_written_through_a_link_that_lies_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "x.part").symlink_to(tmp_path / "mine")
    with atomic(tmp_path / "x") as part:
        part.write_text("new")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "x").read_text() == "new" and not (tmp_path / "x").is_symlink()


@pytest.mark.parametrize("place", [0, 1])
def test_files_that_belong_together_get_their_names_all_or_none(tmp_path: Path, place: int) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    with all_or_none(files) as parts:
        for part in parts:
            part.write_text("old")
        assert not any(file.exists() for file in files)

    def fail() -> None:
        with all_or_none(files) as parts:
            for i, part in enumerate(parts):
                part.write_text("new")
                if i == place:
                    raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        fail()
    assert sorted((path.name, path.read_text()) for path in tmp_path.iterdir()) == [("a", "old"), ("b", "old")]


def test_a_lock_is_refused_while_another_has_it_and_free_afterwards(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"), pytest.raises(BlockingIOError), locked(tmp_path / "lock", wait=False):
        raise AssertionError("two are inside")
    with locked(tmp_path / "lock", wait=False):
        pass


def test_a_file_that_is_read_cannot_be_locked_and_one_that_is_gone_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with shared(tmp_path / "x"), pytest.raises(BlockingIOError), locked(tmp_path / "x", wait=False):
        raise AssertionError("locked under a reader")
    (tmp_path / "x").unlink()
    with pytest.raises(FileNotFoundError):
        shared(tmp_path / "x")


def test_the_damaged_record_of_an_archive_is_named_and_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("a", b"sound")
        archive.writestr("b", b"damaged")
    assert damaged_record(tmp_path / "x") is None
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes().replace(b"damaged", b"changed"))
    assert damaged_record(tmp_path / "x") == "b"
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(zipfile.BadZipFile):
        damaged_record(tmp_path / "x")
