"""Files of weights: which one a path means, and the tensors in it by name."""

import zipfile
from pathlib import Path

import torch
from torch import Tensor

from retdm.errors import UserError
from retdm.files import damaged_record
from retdm.registry import close_names

BEST_CHECKPOINT = "checkpoints/best.ckpt"  # in a run folder
# In a snapshot of the Hugging Face hub, the first that is there.
OF_A_SNAPSHOT = (
    "model.safetensors",
    "pytorch_model.bin",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
MARK = "backbone.net."  # in a run's checkpoint, what stands before a backbone's own names
NESTED = ("state_dict", "model")  # keys under which files of training scripts hold their tensors


def find_file(weights: str) -> Path:
    """Resolve a path to a file.

    Args:
        weights: a file; a run folder, for its best checkpoint; a snapshot of the Hugging Face hub or the folder of a
            repository in the hub's cache (``models--…``), for the weights in it.

    Raises:
        UserError: there is no such file, or the folder is none of these.
    """
    path = Path(weights).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        near = close_names(weights, ["imagenet", "none"], most=1)
        raise UserError(
            f"unknown weights {weights!r}: imagenet, none or a path of a file; there is no file of that name",
            f"did you mean backbone.weights={near[0]}?" if near else "set backbone.weights to one of these",
        )
    return path


def _in_folder(folder: Path) -> Path:
    snapshot = _snapshot(folder) if (folder / "snapshots").is_dir() else folder
    for name in (BEST_CHECKPOINT, *OF_A_SNAPSHOT):
        if (snapshot / name).is_file():
            return snapshot / name
    raise UserError(
        f"the folder {snapshot} has no {BEST_CHECKPOINT}, {' or '.join(OF_A_SNAPSHOT[:2])}",
        "give a run folder, a snapshot of the Hugging Face hub, or the path of a file",
    )


def _snapshot(repository: Path) -> Path:
    """The snapshot that a repository of the hub's cache calls main, or the only one."""
    main, snapshots = repository / "refs" / "main", sorted((repository / "snapshots").iterdir())
    if main.is_file():
        return repository / "snapshots" / main.read_text().strip()
    if len(snapshots) != 1:
        names = ", ".join(each.name for each in snapshots[:3])
        raise UserError(
            f"{repository} has {len(snapshots)} snapshots and calls none of them main",
            f"give the folder of one: {repository / 'snapshots'} has {names}" if names else "fetch it again",
        )
    return snapshots[0]


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file by name, from a run's checkpoint those of its backbone. Runs no code of the file."""
    content = _content(path)
    state = next((content[key] for key in NESTED if key in content), content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError(f"{path} is not a dict of tensors by name", "save network.state_dict() with torch.save")
    marked = [name for name in state if MARK in name]
    if not marked:
        return state
    if len({name.rpartition(MARK)[0] for name in marked}) > 1:
        raise UserError(f"{path} holds more than one backbone", "save the wanted one with torch.save")
    return {name.rpartition(MARK)[2]: state[name] for name in marked}


def _content(path: Path) -> object:
    if path.suffix == ".safetensors":
        return _safetensors(path)
    try:
        if zipfile.is_zipfile(path) and (record := damaged_record(path)):
            raise ValueError(f"{record} is not what was written")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises many kinds
        raise UserError(
            f"{path} cannot be read as PyTorch weights ({_reason(error)})",
            "save a state dict with torch.save; files with other objects in them are not opened",
        ) from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(
            f"{path} needs the package safetensors, which is not installed", 'pip install "retdm[timm]"'
        ) from error
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error})", "fetch or save it again") from error


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else type(error).__name__
