"""Files of weights: which one a path means, and what is in it."""

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch

from retdm.backbones.weight_files import find_file, read_state
from retdm.errors import UserError

TENSORS = {"a.weight": torch.arange(4.0), "a.bias": torch.ones(2, dtype=torch.float16)}


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def holds(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == TENSORS.keys() and all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in TENSORS.items()
    )


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_tensors_are_found_where_training_scripts_put_them(tmp_path: Path, key: str) -> None:
    torch.save({key: TENSORS, "epoch": 3}, tmp_path / "net.pt")
    assert holds(read_state(tmp_path / "net.pt"))


def test_safetensors_are_read(tmp_path: Path) -> None:
    pytest.importorskip("safetensors.torch").save_file(TENSORS, tmp_path / "model.safetensors")
    assert holds(read_state(tmp_path / "model.safetensors"))


def test_damaged_safetensors_are_an_error(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"no tensors at all")
    with pytest.raises(UserError, match=r"model.safetensors cannot be read as safetensors \("):
        read_state(path)


def test_safetensors_without_the_package_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("safetensors"):
            raise ImportError(name)
        return own(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match="needs the package safetensors") as error:
        read_state(touched(tmp_path / "model.safetensors"))
    assert error.value.hint == 'pip install "retdm[timm]"'


def test_a_snapshot_of_the_hub_gives_its_weights_and_safetensors_first(tmp_path: Path) -> None:
    pickled = touched(tmp_path / "pytorch_model.bin")
    assert find_file(str(tmp_path)) == pickled
    safe = touched(tmp_path / "model.safetensors")
    assert find_file(str(tmp_path)) == safe


def test_a_repository_in_the_hubs_cache_gives_the_snapshot_that_it_calls_main(tmp_path: Path) -> None:
    repository = tmp_path / "models--timm--net"
    first = touched(repository / "snapshots" / "0a" / "model.safetensors")
    assert find_file(str(repository)) == first
    second = touched(repository / "snapshots" / "1b" / "model.safetensors")
    with pytest.raises(UserError, match="has 2 snapshots and calls none of them main") as error:
        find_file(str(repository))
    assert error.value.hint.endswith("has 0a, 1b")
    touched(repository / "refs" / "main").write_text("1b\n")
    assert find_file(str(repository)) == second


def test_a_snapshot_without_weights_is_an_error(tmp_path: Path) -> None:
    touched(tmp_path / "snapshots" / "0a" / "config.json")
    with pytest.raises(UserError, match="snapshots/0a has no checkpoints/best.ckpt, model.safetensors or"):
        find_file(str(tmp_path))
