"""Checkpoints that are damaged or are none: refused in words, never read wrongly."""

import random
from pathlib import Path

import pytest
import torch

from retdm.errors import UserError
from retdm.training.checkpoints import continue_from


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


@pytest.mark.parametrize("content", [[], {"state_dict": {}}, {"state_dict": {"a": 1}, "retdm": {"settings": {}}}, "x"])
def test_a_checkpoint_of_odd_content_is_no_checkpoint(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match="is not a checkpoint of retdm"):
        continue_from(tmp_path / "best.ckpt")
