"""Files that are whole or not there, and damage that is seen."""

import errno
import os
import random
import zipfile
from pathlib import Path

import pytest
import torch

from retdm.errors import UserError
from retdm.files import atomic, damaged_record, write_json
from retdm.training.checkpoints import continue_from


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


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "best.ckpt"
    state = {"a": torch.arange(300.0), "b": torch.zeros(0), "c": torch.ones(7, 3)}
    torch.save({"state_dict": state, "retdm": {"settings": {"seed": 1}, "labels": ["x"]}}, path)
    return path


def same(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b


def test_a_checkpoint_with_a_flipped_bit_is_refused_or_reads_as_before(checkpoint: Path, tmp_path: Path) -> None:
    expected, content, draw = continue_from(checkpoint), checkpoint.read_bytes(), random.Random(0)
    refused, file = 0, tmp_path / "best.ckpt"
    for _ in range(150):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(damaged)
        try:
            assert same(continue_from(file), expected)  # in what fills up a record to its 64 bytes
        except UserError:
            refused += 1
    assert refused > 75


@pytest.mark.parametrize("place", [0.25, 0.5])
def test_a_checkpoint_with_zeros_in_it_is_refused(checkpoint: Path, tmp_path: Path, place: float) -> None:
    content = bytearray(checkpoint.read_bytes())
    start = content.index(torch.arange(300.0).numpy().tobytes()) + int(1200 * place)
    content[start : start + 400] = bytes(400)
    (tmp_path / "best.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged: .*data/0 is not what was written"):
        continue_from(tmp_path / "best.ckpt")
    assert damaged_record(checkpoint) is None


@pytest.mark.parametrize("content", [[], {"state_dict": {}}, {"state_dict": {"a": 1}, "retdm": {"settings": {}}}, "x"])
def test_a_checkpoint_of_odd_content_is_no_checkpoint(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match="is not a checkpoint of retdm"):
        continue_from(tmp_path / "best.ckpt")


def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(zipfile.BadZipFile):
        damaged_record(tmp_path / "x")
