"""Settings to objects: data, method, trainer."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from retdm.backbones import Backbone, NoBackbone
from retdm.data.base_module import Data
from retdm.data.modules import BagData, ImageData, module_of
from retdm.data.preparation import WHOLE, Preparation
from retdm.data.source import state_of
from retdm.errors import UserError
from retdm.methods.base import Method
from retdm.methods.deep import DeepMethod
from retdm.methods.on_bags.distance_method import DistanceMethod
from retdm.registry import CONF
from retdm.runs.folder.provenance import provenance
from retdm.settings.classes import class_of, source_of
from retdm.settings.declared import parameters_of
from retdm.settings.devices import device_of
from retdm.settings.run_settings import RunSettings
from retdm.training.optimizers import OptimizerSettings
from retdm.training.precompute.distances import precompute_distances
from retdm.training.precompute.features import precompute_features

log = logging.getLogger("retdm")


def state_of_data(settings: RunSettings) -> dict[str, str]:
    """The state of a run's data, see :func:`retdm.data.source.state_of`. Opens the data, and downloads nothing."""
    data = settings.data
    return state_of(open_source(settings.changed(data=data | ({"download": False} if "download" in data else {}))))


def open_source(settings: RunSettings) -> Any:
    """The data set of a run, no image of it decoded yet."""
    return source_of(settings.classes["data"], settings.data)


def dim_of(source: Any) -> int | None:
    """Features of an instance, where a source gives bags; None where it gives images."""
    return int(source.instances.shape[1]) if module_of(type(source)) is BagData else None


def build_data(settings: RunSettings, source: Any = None) -> ImageData | BagData:
    """The data module of a run: the source's own keys go to the source, the rest to the loaders.

    Args:
        settings: of the run.
        source: what :func:`open_source` gave, where that was asked before.
    """
    if source is None:
        source = open_source(settings)
    takes = parameters_of(type(source))
    config = {key: value for key, value in settings.data.items() if key not in takes and key != "_target_"}
    if settings.augment:
        config["augmentation"] = settings.classes["augment"](**arguments_of(settings.augment))
    if settings.backbone:
        config["preparation"] = preparation_of(settings)
    return module_of(type(source))(source, **config, seed=settings.seed)


def preparation_of(settings: RunSettings) -> Preparation:
    """How images are prepared for a run's backbone, if it has one: as its weights say."""
    if not settings.backbone:
        return WHOLE
    transform = settings.classes["backbone"].transform_of(settings.backbone)
    return Preparation(transform.interpolation, transform.crop)


def check_takes(settings: RunSettings) -> None:
    """Check that the method takes what the data gives, and mixed targets where images are mixed, before any file is
    read.

    Raises:
        UserError: it does not; the methods that would are named.
    """
    given, method = settings.classes["data"].gives, settings.choices["method"]
    if given not in settings.classes["method"].takes:
        raise UserError(
            f"data={settings.choices['data']} gives {given.__name__}, not what {method} takes",
            f"methods that do: {_methods(lambda kind, _: given in kind.takes)}",
        )
    mixing = [f"augment.{key}={value}" for key in ("mixup", "cutmix") if (value := settings.augment.get(key))]
    if mixing and not settings.classes["method"].takes_mixed_targets(settings.method):
        raise UserError(
            f"{' '.join(mixing)} mixes label sets, and {method} takes whole ones",
            f"methods that take mixed targets: {_methods(lambda kind, config: kind.takes_mixed_targets(config))}",
        )


def _methods(accept: Callable[[Any, dict[str, Any]], bool]) -> str:
    """Names of the methods of conf/method whose class and settings are accepted; their variants are not listed."""
    fitting = []
    for file in sorted((CONF / "method").glob("*.yaml")):
        config = yaml.safe_load(file.read_text()) or {}
        if "_target_" in config and accept(class_of("method", config), config):
            fitting.append(file.stem)
    return ", ".join(fitting) or "none yet"


def build_method(
    settings: RunSettings,
    labels: list[str],
    *,
    dim: int | None = None,
    load: bool = True,
) -> Method:
    """The method of a run.

    Args:
        settings: of the run.
        labels: their names, in order.
        dim: features of an instance, where the data gives bags instead of images.
        load: False reads no weights, because a checkpoint will bring them.
    """
    config = arguments_of(settings.method)
    if issubclass(settings.classes["method"], DeepMethod):
        config["optimizer"] = partial(build_optimizer, settings)
    with torch.random.fork_rng(devices=[]):  # `retdm.load` must not change its caller's random numbers
        torch.manual_seed(settings.seed)
        backbone = build_backbone(settings, load=load) if dim is None else NoBackbone(dim)
        if settings.precompute:
            backbone.freeze()
        method: Method = settings.classes["method"](backbone, labels, **config, seed=settings.seed)
    if isinstance(method, DeepMethod):
        method.check_stages()
    if settings.trainer["precision"] == "bf16-mixed":
        method.encoder.autocast = torch.bfloat16
    method.to(memory_format=torch.channels_last)
    if backbone.report is not None:
        log.info("%s", backbone.report)
    return method


def describe(
    settings: RunSettings, method: Method, dim: int | None, validation: dict[str, Any] | None
) -> dict[str, Any]:
    """Plain values that a checkpoint holds beside the weights, enough to build its method without data.

    Args:
        settings: of the run.
        method: of the run.
        dim: features of an instance, where the data gives bags instead of images.
        validation: ``criteria`` and ``threshold`` before the method was trained on the validation split too; else None.
    """
    return {
        "settings": settings.as_dict(),
        "identity": settings.identity,
        "labels": method.labels,
        "image_size": settings.data.get("image_size"),
        "dim": dim,
        "transform": method.encoder.backbone.transform.as_dict(),
        "provenance": provenance(settings.typed),
        "validation": validation,
    }


def build_optimizer(settings: RunSettings, groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """The optimizer that a run chose, of a method's parameter groups."""
    return optimizer_settings(settings).build(groups, lr)


def optimizer_settings(settings: RunSettings) -> OptimizerSettings:
    """The optimizer that a run chose, as its settings."""
    chosen: OptimizerSettings = settings.classes["optimizer"](**arguments_of(settings.optimizer))
    return chosen


def build_backbone(settings: RunSettings, *, load: bool) -> Backbone:
    """The backbone of a run, which can read its images, or the crops of a grid over them.

    Args:
        settings: of the run.
        load: as of :func:`build_method`.

    Raises:
        UserError: images or crops are too small, or no size that the network takes; or its weights are wrong.
    """
    kind, size = settings.classes["backbone"], settings.data.get("image_size")
    grid = settings.method["grid"] if settings.method.get("instances") == "grid" else 1
    sized = {"image_size": size and size // grid} if "image_size" in parameters_of(kind) else {}
    backbone: Backbone = kind(**arguments_of(settings.backbone), **sized, load=load)
    try:
        if size:
            backbone.check_side(size // grid)
    except UserError as error:
        if grid == 1:
            raise
        raise UserError(
            f"method.instances=grid reads crops of data.image_size={size}: {error.message}",
            "method.instances=cells, or another method.grid or data.image_size",
        ) from error
    return backbone


def arguments_of(config: dict[str, Any]) -> dict[str, Any]:
    """A group's settings without the name of its class."""
    return {key: value for key, value in config.items() if key != "_target_"}


def precompute(settings: RunSettings, data: Data, method: Method) -> Data:
    """The data with features of a frozen backbone in the place of images.

    Where the backbone is trained, or the data has bags, the data as it is. A method on distances between bags takes
    those of the whole data set. Features and distances come from the cache where they are there.

    Args:
        settings: of the run.
        data: of the run.
        method: with its backbone's weights.
    """
    if method.encoder.backbone.frozen:
        data = features_of(settings, data, method)
    if isinstance(method, DistanceMethod):
        method.use_distances(*precompute_distances(data, method.distance, method.scale, _cache_of(settings)))
    return data


def features_of(settings: RunSettings, data: Data, method: Method) -> Data:
    """The data with features of the method's backbone, as it is now, in the place of images; other data as it is.

    Args:
        settings: of the run.
        data: of the run.
        method: with its backbone's weights as they were loaded: what is cached goes by their file.
    """
    if not isinstance(data, ImageData) or data.features is not None:
        return data
    method.to(device_of(settings.trainer))
    backbone = settings.identity["backbone"]
    of = {"backbone": backbone, "seed": settings.seed if backbone["weights"] == "none" else None}
    return precompute_features(data, method, of, _cache_of(settings))


def _cache_of(settings: RunSettings) -> Path | None:
    """The folder of the cache; None caches nothing."""
    return None if settings.data.get("cache", "none") == "none" else Path(settings.data["cache"])
