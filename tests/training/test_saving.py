"""Checkpoints where there is no room: one error, nothing left, and no way through the temporary folder."""

import errno
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from retdm.runs.errors import as_user_error
from retdm.training.saving import save


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
    told = as_user_error(raised.value)
    assert told is not None and str(path) in told.message
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    assert list(torch.load(path, weights_only=True)) == ["old"]


def test_training_needs_no_room_in_the_temporary_folder(
    plan: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "is not there"))
    fit = plan("method=bce").run()
    assert sorted(file.name for file in fit.folder.iterdir()) == ["best.ckpt", "last.ckpt"]
