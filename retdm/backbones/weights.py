"""Loading a backbone's weights, with a report: no layer starts at random without notice."""

from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from retdm.backbones.weight_files import find_file, read_state
from retdm.errors import UserError
from retdm.files import file_hash


class Weighted(Protocol):
    """A backbone as far as its weights are concerned, see :class:`retdm.backbones.Backbone`."""

    name: ClassVar[str]
    names: ClassVar[str]
    imagenet: ClassVar[WeightsEnum | None]
    last_layer: str | tuple[str, ...] | None
    dispensable: ClassVar[tuple[str, str] | None]
    net: nn.Module
    random_layer: str | None

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class WeightsReport:
    """The outcome of loading.

    Attributes:
        taken: how many tensors.
        random: layers that start at random although weights were loaded.
        unused: layers of the file that the backbone does not have.
        source: the file, or ``none``.
        sha256: of the file's content; empty for ``none``, and where another library fetched them by name.
    """

    taken: int
    random: list[str]
    unused: list[str]
    source: str
    sha256: str

    def __str__(self) -> str:
        if self.source == "none":
            return "weights: none; every layer starts at random"
        content = f" (sha256 {self.sha256[:8]})" if self.sha256 else ""
        parts = [f"weights: {self.taken} tensors from {self.source}{content}"]
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
        weights: ``imagenet`` (torchvision's, downloaded once); ``none``; the path of a file (a state dict under names
            that ``backbone.own_names`` knows, bare or under ``state_dict`` or ``model``, in any float type, saved by
            PyTorch or as safetensors); of a run folder (the backbone of its best checkpoint); or of a folder of the
            Hugging Face hub (see :func:`find_file`).

    Raises:
        UserError: the file does not exist, cannot be read, or is another network's.
    """
    if weights == "none":
        return WeightsReport(0, [], [], "none", "")
    path = fetch_imagenet(backbone) if weights == "imagenet" else find_file(weights)
    # In float32 from here on: a position grid of another size is interpolated, which half precision cannot do well.
    read = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in read_state(path).items()}
    found = backbone.own_names(dict(read))
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
            f"backbone.weights takes a state dict under {backbone.names} names for {backbone.name}, or a run folder",
        )
    backbone.net.load_state_dict(taken, strict=False)  # compared above
    wide = [f"{layer} ({len(own[layer + '.weight'])} wide)" for layer in _layers(random)]
    return WeightsReport(len(taken), wide, _layers(unused) + _dropped(read, found), str(path), file_hash(path))


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


def _imagenet(backbone: Weighted | type[Weighted]) -> WeightsEnum:
    if backbone.imagenet is None:
        raise UserError(
            f"there are no ImageNet weights for {backbone.name}", "backbone.weights=none or the path of a file"
        )
    return backbone.imagenet


def _in_layer(name: str, layer: str | tuple[str, ...] | None) -> bool:
    """True for a tensor of a layer, or of one inside it; or of one of several."""
    layers = (layer,) if isinstance(layer, str) else layer or ()
    return f"{name.rpartition('.')[0]}.".startswith(tuple(f"{each}." for each in layers))


def _layers(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[0] for name in names))


def _dropped(read: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """The parts of a file, such as a text tower, of which the translation of names has left nothing."""
    kept = {tensor.data_ptr() for tensor in found.values()}
    parts: dict[str, bool] = {}
    for name, tensor in read.items():
        part = name.partition(".")[0]
        parts[part] = parts.get(part, True) and name not in found and tensor.data_ptr() not in kept
    return [part for part, dropped in parts.items() if dropped]


def _first(names: list[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
