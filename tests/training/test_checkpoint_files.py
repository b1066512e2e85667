"""Checkpoints where there is no room, and such as are damaged or none: one error, nothing lost, never read wrongly."""

import errno
import random
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from retdm.errors import UserError
from retdm.runs.errors import as_user_error
from retdm.training.checkpoint_files import read_checkpoint, save


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [100, 20_000, 420_000])  # in the first record, between two, in the archive's end
def test_a_checkpoint_without_room_is_an_error_that_names_it_and_the_old_one_stands(tmp_path: Path, size: int) -> None:
    path = tmp_path / "last.ckpt"
    save({"old": torch.zeros(3)}, path)
    with no_file_above(size), pytest.raises(OSError, match="File too large") as raised:
        save({f"tensor{i}": torch.ones(1000) for i in range(100)}, path)
    assert raised.value.errno == errno.EFBIG
    reported = as_user_error(raised.value)
    assert reported is not None and str(path) in reported.message
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    assert list(torch.load(path, weights_only=True)) == ["old"]


def test_training_needs_no_room_in_the_temporary_folder(
    plan: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "is not there"))
    fit = plan("method=bce").run()
    assert sorted(file.name for file in fit.folder.iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "best.ckpt"
    state = {"a": torch.arange(300.0), "b": torch.zeros(0), "c": torch.ones(7, 3)}
    torch.save({"state_dict": state, "retdm": {"settings": {"seed": 1}, "identity": {}, "labels": ["x"]}}, path)
    return path


def same(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b


def test_a_checkpoint_with_a_flipped_bit_is_refused_or_reads_as_before(checkpoint: Path, tmp_path: Path) -> None:
    expected, content, draw = read_checkpoint(checkpoint), checkpoint.read_bytes(), random.Random(0)
    refused, file = 0, tmp_path / "best.ckpt"
    for _ in range(150):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(damaged)
        try:
            assert same(read_checkpoint(file), expected)  # in what fills up a record to its 64 bytes
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
        read_checkpoint(tmp_path / "best.ckpt")


@pytest.mark.parametrize("content", [[], {"state_dict": {}}, {"state_dict": {"a": 1}, "retdm": {"settings": {}}}, "x"])
def test_a_checkpoint_of_odd_content_is_no_checkpoint(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match="is not a checkpoint of retdm"):
        read_checkpoint(tmp_path / "best.ckpt")
