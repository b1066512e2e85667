"""Networks of timm by name: their settings there, building them, and the tensors of other files under timm's names."""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor

from retdm.errors import UserError
from retdm.registry import close_names

log = logging.getLogger("retdm")

INSTALL = 'pip install "retdm[timm]"'


def config_of(name: str) -> dict[str, Any]:
    """timm's settings of a network and of its weights: ``input_size``, ``mean``, ``crop_pct``, ``license`` and so on.

    Raises:
        UserError: timm is not installed, or has no network or no weights of this name.
    """
    timm = _timm()
    network, _, tag = name.partition(".")
    if not timm.is_model(network):
        near = close_names(network, timm.list_models())
        raise UserError(
            f"timm has no network called {network}",
            f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them",
        )
    found = timm.get_pretrained_cfg(name) if not tag or timm.models.is_model_pretrained(name) else None
    if found is None and tag:
        tags = ", ".join(each.partition(".")[2] for each in timm.list_pretrained(f"{network}.*"))
        raise UserError(f"timm's {network} has no weights called {tag}", f"there are: {tags or 'none'}")
    config: dict[str, Any] = found.to_dict() if found else {"architecture": network}
    return config


def preparation_of(config: dict[str, Any]) -> dict[str, Any]:
    """What timm does to an image for weights of these settings: ``input_size``, ``mean``, ``std``, ``interpolation``,
    ``crop_pct``."""
    prepared: dict[str, Any] = _timm().data.resolve_data_config({}, pretrained_cfg=config)
    return prepared


def created(name: str, image_size: int | None, *, pretrained: bool) -> Any:
    """A network without its classification layer.

    Args:
        name: as timm lists it, with or without the tag of its weights.
        image_size: side of the images, for networks that are built for one size; None: that of the weights. Positional
            embeddings of weights are resized to it by timm.
        pretrained: load timm's weights, downloaded once.

    Raises:
        UserError: there is no such network, it cannot be built for this size, or its weights cannot be loaded.
    """
    config = config_of(name)
    build = partial(_timm().create_model, name, pretrained=pretrained, num_classes=0)
    sized = {"img_size": image_size} if image_size and config.get("fixed_input_size") else {}
    if pretrained:
        log.info("timm's weights of %s come from the Hugging Face hub or its cache", name)
    try:
        with _quiet_hub():
            try:
                net = build(**sized)
            except TypeError:  # its size cannot be chosen
                net = build()
    except Exception as error:  # of the hub's client without a network, of timm without weights or for a strange size
        if pretrained:
            raise UserError(
                f"timm's weights of {name} cannot be loaded ({type(error).__name__})",
                "fetch them elsewhere and say backbone.weights=<file, or folder of the hub>, or backbone.weights=none",
            ) from error
        if not sized:
            raise
        raise UserError(
            f"timm's {name} cannot be built for images of {image_size} x {image_size} ({error})",
            f"data.image_size={config['input_size'][-1]} is the size of its weights",
        ) from error
    if not hasattr(net, "forward_intermediates"):
        raise UserError(f"timm's {name} does not give its intermediate maps", "choose another backbone.name")
    return net


def under_timms_names(net: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a file by timm's names for ``net``.

    timm has a function for each family that knows the names of the original files (DINOv2, DINOv3, CLIP, SigLIP,
    ConvNeXt …) and resizes positional embeddings and patches. Names that it does not know stay as they are.
    """
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # one of them prints
            converted: dict[str, Tensor] = convert(dict(state), net)
    except Exception:  # it expects another network's tensors: the names as they are say which
        return state
    return converted


def source_of(config: dict[str, Any]) -> str:
    """The name of timm's weights of these settings, without a download. Raises ``UserError`` where it has none."""
    if found := config.get("hf_hub_id") or config.get("url"):
        return f"timm:{found}"
    name = config["architecture"]
    kin = _timm().list_pretrained(f"*{name}*")
    raise UserError(
        f"timm has no weights for {name}",
        f"backbone.name={kin[0]} has some; or backbone.weights=none or a file" if kin else "backbone.weights=none",
    )


@contextlib.contextmanager
def _quiet_hub() -> Iterator[None]:
    """A block in which the hub's client says nothing of its retries, a line each: without a network, for a minute."""
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(level)


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise UserError("backbone=timm needs a package that is not installed", INSTALL) from error
    return timm
