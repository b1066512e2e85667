"""The first choice: backbone, method, schedule, optimizer and image size where neither command nor recipe names them.

Hydra asks for each group that ``conf/train.yaml`` leaves open, once it knows what was named. The answer follows from
these names alone, and the image size from the label file and the device, so that the same command finds its run again.
"""

import logging
from collections.abc import Mapping
from typing import Any

import yaml
from omegaconf import OmegaConf

from retdm import registry
from retdm.data.images import cached_side
from retdm.data.source import BagSource
from retdm.data.synthetic.source import Synthetic
from retdm.display.screen import muted
from retdm.errors import UserError
from retdm.registry import files_of, resolve
from retdm.settings.classes import source_of
from retdm.settings.run_settings import RunSettings
from retdm.settings.types import fits

FIRST = {  # what measured best, docs/results
    "photographs": {"backbone": "mobilenet_v2", "method": "retdm"},
    "drawn images": {"backbone": "vgg_small", "method": "retdm"},
    "bags": {"backbone": "vgg_small", "method": "emd_svm"},  # no backbone is built
}
ADAMW = ("fine_tune", "quick", "best", "adamw")  # schedules whose rates are meant for it
SMALL, LARGE = 128, 224  # sides of images in pixels: the larger measures better, and takes three to four times as long
MANY = 5000  # images; more of them at the larger size would take two cores more than half an hour


def register_resolvers() -> None:
    """The functions that the YAML files use: a first choice, and the side of the cached image."""
    OmegaConf.register_new_resolver("first_choice", first_choice, replace=True)
    # A value that is no whole number is reported as data.image_size, where it was written.
    OmegaConf.register_new_resolver(
        "cached_side", lambda size: cached_side(size) if fits(size, int) else size, replace=True
    )


def first_choice(group: str, *, _root_: Mapping[str, Any]) -> str:
    """The name of a group's file that suits what else was named.

    Args:
        group: ``backbone``, ``method``, ``schedule`` or ``optimizer``.
        _root_: group -> name, where the command or a recipe names one.
    """
    named = {key: value for key, value in _root_.items() if isinstance(value, str)}
    kind = kind_of_data(named.get("data", "synthetic"))
    if group in ("backbone", "method"):
        return FIRST[kind][group]
    if group == "schedule":
        backbone = named.get("backbone", FIRST[kind]["backbone"])
        at_random = _key("backbone", backbone, "weights") == "none"
        return "bags" if kind == "bags" else "from_scratch" if at_random else "fine_tune"
    schedule = named.get("schedule") or first_choice("schedule", _root_=_root_)
    return "adamw" if schedule in ADAMW else "sgd"


def unnamed(settings: RunSettings) -> list[str]:
    """What was chosen for the data that the command names, as words that a command could have: ``<group>=<name>``.

    Nothing where a recipe chose, or where images are drawn.
    """
    keys = {word.lstrip("+").partition("=")[0] for word in settings.typed}
    if "data" not in keys or "experiment" in keys or kind_of_data(settings.choices["data"]) == "drawn images":
        return []
    groups = ["backbone"] * bool(settings.backbone) + ["method"] + ["schedule"] * ("stages" in settings.method)
    words = [f"{group}={settings.choices[group]}" for group in groups if group not in keys]
    if settings.backbone and settings.classes["data"].user_settings and "data.image_size" not in keys:
        words.append(f"data.image_size={settings.data['image_size']}")
    return words


def kind_of_data(name: str) -> str:
    """What a data set consists of, a key of ``FIRST``, by the name of its YAML file."""
    try:
        kind = resolve(_key("data", name, "_target_"))
    except UserError:  # reported where its settings are checked
        return "photographs"
    return "bags" if issubclass(kind, BagSource) else "drawn images" if kind is Synthetic else "photographs"


def _key(group: str, name: str, key: str) -> Any:
    """A key of a choice's YAML file, or of those that it includes; None where it is not there."""
    files = files_of(group, name) if (registry.CONF / group / f"{name}.yaml").is_file() else ()
    contents = (yaml.safe_load(file.read_text()) or {} for file in files)
    return next((content[key] for content in contents if key in content), None)


def size_images(data: dict[str, Any], kind: Any, device: str) -> None:
    """Choose the image size of the user's own photographs where it is null, by their number and by what computes.

    Args:
        data: settings of the set, checked.
        kind: its class.
        device: ``trainer.accelerator``.

    Raises:
        UserError: something in the label file is wrong, or the GPU that is asked for is not there.
    """
    from retdm.settings.devices import accelerator  # brings PyTorch

    if data.get("image_size", 0) is None:
        data["image_size"] = LARGE if accelerator(device) == "gpu" or _count(kind, data) <= MANY else SMALL


def _count(kind: Any, data: Mapping[str, Any]) -> int:
    """The number of images in a label file; 0 where there is none, which is told where the run's folder is named."""
    try:
        kind.user_files(*(data[key] for key in kind.user_settings))
    except UserError:
        return 0
    with muted("retdm", below=logging.ERROR):  # warnings about the file come when training opens it
        return len(source_of(kind, data))
