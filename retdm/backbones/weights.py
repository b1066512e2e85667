"""Loading a backbone's weights, with a report: no layer starts at random without notice."""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from retdm.errors import UserError
from retdm.files import damaged_record, file_hash
from retdm.registry import close_names

BEST_CHECKPOINT = "checkpoints/best.ckpt"  # in a run folder
MARK = "backbone.net."  # in a run's checkpoint, what stands before a backbone's own names


class Weighted(Protocol):
    """A backbone as far as its weights are concerned, see :class:`retdm.backbones.Backbone`."""

    name: ClassVar[str]
    imagenet: ClassVar[WeightsEnum | None]
    last_layer: str | None
    dispensable: ClassVar[tuple[str, str] | None]
    net: nn.Module
    random_layer: str | None

    @classmethod
    def torchvision_name(cls, name: str) -> str: ...


@dataclass(frozen=True)
class WeightsReport:
    """The outcome of loading.

    Attributes:
        taken: how many tensors.
        random: layers that start at random although weights were loaded.
        unused: layers of the file that the backbone does not have.
        source: the file, or ``none``.
        sha256: of the file's content; empty for ``none``.
    """

    taken: int
    random: list[str]
    unused: list[str]
    source: str
    sha256: str

    def __str__(self) -> str:
        if self.source == "none":
            return "weights: none; every layer starts at random"
        parts = [f"weights: {self.taken} tensors from {self.source} (sha256 {self.sha256[:8]})"]
        if self.random:
            parts.append(f"at random: {', '.join(self.random)}")
        if self.unused:
            parts.append(f"not taken: {', '.join(self.unused)}")
        return "; ".join(parts)


def load_weights(backbone: Weighted, weights: str) -> WeightsReport:
    """Load weights into ``backbone.net``.

    Args:
        backbone: its ``net`` has the architecture; its ``last_layer`` is not taken, its ``random_layer`` is taken only
            where the shapes are equal.
        weights: ``imagenet`` (torchvision's, downloaded once); ``none``; the path of a file (a state dict under
            torchvision's names, bare or under ``state_dict``, in any float type); or the path of a run folder (the
            backbone of its best checkpoint).

    Raises:
        UserError: the file does not exist, cannot be read, or is another network's.
    """
    if weights == "none":
        return WeightsReport(0, [], [], "none", "")
    path = fetch_imagenet(backbone) if weights == "imagenet" else find_file(weights)
    found = {backbone.torchvision_name(name): tensor for name, tensor in read_state(path).items()}
    own = backbone.net.state_dict()

    unused = [name for name in found if _in_layer(name, backbone.last_layer)]
    random = [name for name in own if _in_layer(name, backbone.random_layer)]
    if all(name in found and found[name].shape == own[name].shape for name in random):
        random = []
    left_out = {*unused, *random}
    # Files older than PyTorch 0.4.1 have no num_batches_tracked, which nothing here uses.
    missing = [n for n in own if n not in found and n not in left_out and not n.endswith("num_batches_tracked")]
    unexpected = [name for name in found if name not in own and name not in left_out]
    taken = {name: tensor for name, tensor in found.items() if name in own and name not in left_out}
    reshaped = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(own[name].shape)}"
        for name, tensor in taken.items()
        if tensor.shape != own[name].shape
    ]
    if missing and not (unexpected or reshaped) and backbone.dispensable:
        layer, instead = backbone.dispensable
        if all(_in_layer(name, layer) for name in missing):
            raise UserError(f"{path} has not all layers of {backbone.name}; missing: {_first(missing)}", instead)
    if missing or unexpected or reshaped:
        faults = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
        raise UserError(
            f"{path} does not fit {backbone.name}; "
            + "; ".join(f"{fault}: {_first(names)}" for fault, names in faults.items() if names),
            f"backbone.weights takes a state dict under torchvision's names for {backbone.name}, or a run folder",
        )
    backbone.net.load_state_dict(taken, strict=False)  # compared above; half precision becomes float32 here
    wide = [f"{layer} ({len(own[layer + '.weight'])} wide)" for layer in _layers(random)]
    return WeightsReport(len(taken), wide, _layers(unused), str(path), file_hash(path))


def find_file(weights: str) -> Path:
    """Resolve a path to a file: itself, or the best checkpoint of a run folder."""
    path = Path(weights).expanduser()
    if path.is_dir():
        if not (path / BEST_CHECKPOINT).is_file():
            raise UserError(
                f"the folder {path} has no {BEST_CHECKPOINT}", "give a run folder that has one, or the path of a file"
            )
        return path / BEST_CHECKPOINT
    if not path.is_file():
        near = close_names(weights, ["imagenet", "none"], most=1)
        raise UserError(
            f"unknown weights {weights!r}: imagenet, none or a path of a file; there is no file of that name",
            f"did you mean backbone.weights={near[0]}?" if near else "set backbone.weights to one of these",
        )
    return path


def imagenet_name(backbone: Weighted | type[Weighted]) -> str:
    """The file name of torchvision's ImageNet weights, which contains the start of their hash."""
    return str(_imagenet(backbone).url).rpartition("/")[2]


def fetch_imagenet(backbone: Weighted) -> Path:
    """The file of torchvision's ImageNet weights, downloaded if it is not in PyTorch's cache yet."""
    entry = _imagenet(backbone)
    path = Path(torch.hub.get_dir(), "checkpoints", imagenet_name(backbone))
    if not path.is_file():
        try:
            entry.get_state_dict(progress=True, check_hash=True, map_location="cpu", weights_only=True)
        except (OSError, HTTPException, RuntimeError) as error:  # no network; a broken transfer; a wrong hash
            raise UserError(
                f"the ImageNet weights of {backbone.name} cannot be downloaded ({error}): {entry.url}",
                f"fetch the file elsewhere and put it at {path}, or say backbone.weights=<path of the file>; "
                "backbone=vgg_small needs no weights",
            ) from error
    return path


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file by name, from a run's checkpoint those of its backbone. Runs no code of the file."""
    try:
        if zipfile.is_zipfile(path) and (record := damaged_record(path)):
            raise ValueError(f"{record} is not what was written")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises many kinds
        raise UserError(
            f"{path} cannot be read as PyTorch weights ({_reason(error)})",
            "save a state dict with torch.save; files with other objects in them are not opened",
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError(f"{path} is not a dict of tensors by name", "save network.state_dict() with torch.save")
    marked = [name for name in state if MARK in name]
    if not marked:
        return state
    if len({name.rpartition(MARK)[0] for name in marked}) > 1:
        raise UserError(f"{path} holds more than one backbone", "save the wanted one with torch.save")
    return {name.rpartition(MARK)[2]: state[name] for name in marked}


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else type(error).__name__


def _imagenet(backbone: Weighted | type[Weighted]) -> WeightsEnum:
    if backbone.imagenet is None:
        raise UserError(
            f"there are no ImageNet weights for {backbone.name}", "backbone.weights=none or the path of a file"
        )
    return backbone.imagenet


def _in_layer(name: str, layer: str | None) -> bool:
    """True for a tensor of a layer, or of one inside it."""
    return layer is not None and f"{name.rpartition('.')[0]}.".startswith(f"{layer}.")


def _layers(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[0] for name in names))


def _first(names: list[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
