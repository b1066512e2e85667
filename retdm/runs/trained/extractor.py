"""Features of images, by a backbone alone or by the network of a trained run.

Notation: B images, F features, C channels of a map of h x w places.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from retdm import __version__
from retdm.backbones import Backbone
from retdm.batch import Batch, unlabelled
from retdm.data.images import Range, checked_range
from retdm.data.preparation import Preparation
from retdm.errors import UserError
from retdm.files import file_hash
from retdm.methods.base import Method
from retdm.methods.components.encoder import BackboneEncoder, Encoder
from retdm.methods.components.multilevel_encoder import MultilevelEncoder
from retdm.runs.build import build_backbone, preparation_of
from retdm.runs.folder.paths import shown
from retdm.runs.trained.image_files import check_takes_images
from retdm.runs.trained.model import Model
from retdm.runs.trained.views import view_of
from retdm.settings.checks import FeatureView, check_group
from retdm.settings.classes import resolve_classes
from retdm.settings.devices import device_named, precision
from retdm.settings.features import own_words
from retdm.settings.run_settings import RunSettings, network_of
from retdm.training.inference import infer


class Extractor:
    """What turns images into features.

    Attributes:
        image_size: side of the network's images in pixels.
        preparation: how an image becomes the network's square.
        value_range: the values that are black and white in images of more than 8 bits, or None.
        warning: what is wrong with the features of layers that no weights were loaded into; empty where nothing is.
        about: what the features depend on, plain values: ``network`` and ``backbone`` (its settings), ``weights``
            (source and SHA-256), ``run``, ``view``, ``stages`` (stage -> its features, in the order of the columns),
            ``image_size``, ``transform``, ``precision``; and ``retdm`` (version), ``torch`` and ``date``.
    """

    def __init__(
        self,
        method: Method,
        view: FeatureView,
        encoder: Encoder,
        about: Mapping[str, Any],
        *,
        image_size: int,
        preparation: Preparation,
    ) -> None:
        self.method, self.image_size, self.preparation = method, image_size, preparation
        self.value_range: Range | None = None
        self.warning = ""
        # An encoder pools the maps that it extracts; every other view is what it gives.
        self._compute: Callable[[Batch], Tensor] = (
            (lambda batch: encoder.extract(batch.image)) if view == "maps" else encoder
        )
        self.about: dict[str, Any] = {
            **about,
            "view": view,
            "stages": encoder.widths(encoder.stages) if isinstance(encoder, MultilevelEncoder) else {},
            "image_size": image_size,
            "transform": encoder.backbone.transform.as_dict(),
            "precision": "float32" if encoder.autocast is None else "bfloat16",
            "retdm": __version__,
            "torch": torch.__version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def view(self, image: Image.Image) -> Tensor:
        """An RGB image as the network takes it: uint8 (3, S, S), S = ``image_size``. Several threads may call it."""
        return view_of(image, self.image_size, self.preparation)

    def features(self, views: Tensor) -> NDArray[np.float32]:
        """Features float32 (B, F), or (B, C, h, w), of images uint8 (B, 3, S, S) as ``view`` gives them."""
        ((_, found),) = infer(self.method, [unlabelled(views, 1)], self._compute)
        return np.ascontiguousarray(found.float().cpu().numpy())


def extractor_of(asked: Mapping[str, Any], choices: Mapping[str, Any]) -> Extractor:
    """The extractor that settings of ``retdm features`` describe.

    Args:
        asked: the settings, checked by ``check_features``.
        choices: group -> name of its YAML file.

    Raises:
        UserError: there is no such run, backbone, stage, device or file of weights; the images are too small.
    """
    device = device_named(asked["device"])
    make = _of_backbone if asked["run"] is None else _of_run
    extractor = make(asked, choices, device)
    extractor.value_range = checked_range(asked["value_range"]) or extractor.value_range
    return extractor


def _of_run(asked: Mapping[str, Any], choices: Mapping[str, Any], device: str) -> Extractor:
    model = Model(asked["run"], device, user_classes=asked["user_classes"])
    check_takes_images(model)
    method, settings, view = model.method, model.settings, asked["view"]
    own = method.encoder
    encoder = own if view == "embedding" else _encoder(own.backbone, view, asked["stages"])
    encoder.autocast = own.autocast
    about = {
        "run": str(model.run.path),
        "network": network_of(settings.choices, settings.backbone),
        "backbone": settings.backbone,
        "weights": {"source": str(shown(model.run.best)), "sha256": file_hash(model.run.best)},
    }
    extractor = Extractor(method, view, encoder, about, image_size=model.image_size, preparation=model.preparation)
    extractor.value_range = model.value_range
    return extractor


def _of_backbone(asked: Mapping[str, Any], choices: Mapping[str, Any], device: str) -> Extractor:
    config, view = asked["backbone"], asked["view"]
    classes = resolve_classes({"backbone": config}, ["backbone"])
    check_group("backbone", config, classes["backbone"], choices)
    settings = RunSettings(
        data={"image_size": asked["image_size"]},
        choices={"backbone": str(choices["backbone"])},
        classes=classes,
        backbone=config,
    )
    with own_words(), torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        torch.manual_seed(0)
        backbone = build_backbone(settings, load=True).freeze()
        image_size = asked["image_size"] or backbone.transform.size
        backbone.check_side(image_size)
    encoder = _encoder(backbone, view, asked["stages"])
    if precision(asked["precision"] or "32-true", device) == "bf16-mixed":
        encoder.autocast = torch.bfloat16
    method = Method(backbone, [])
    method.encoder = encoder
    method.to(device).to(memory_format=torch.channels_last).eval()
    report = backbone.report
    assert report is not None
    weights = {"source": report.source, "sha256": report.sha256 or _hash_of(backbone), "at_random": report.random}
    about = {"run": None, "network": network_of(choices, config), "backbone": dict(config), "weights": weights}
    extractor = Extractor(method, view, encoder, about, image_size=image_size, preparation=preparation_of(settings))
    if report.source == "none":
        extractor.warning = "backbone.weights=none: these are features of a network that starts at random"
    elif report.random and view == "embedding":
        layers = ", ".join(report.random)
        extractor.warning = f"the embedding is that of layers that start at random, {layers}; another setting has none"
    return extractor


def _encoder(backbone: Backbone, view: FeatureView, stages: list[str | int] | None) -> Any:
    if view == "multilevel":
        names = backbone.stages if stages is None else tuple(map(str, stages))
        unknown = [name for name in names if name not in backbone.stages]
        if unknown or not names:
            wrong = (
                f"stages names {unknown[0]}, which is no stage of {backbone.name}"
                if names
                else "stages=[] names no stage"
            )
            raise UserError(wrong, f"its stages: {', '.join(backbone.stages)}")
        return MultilevelEncoder(backbone, names)
    return BackboneEncoder(backbone, view="embedding" if view == "embedding" else "cells")


def _hash_of(backbone: Backbone) -> str:
    """SHA-256 of the values of all tensors, where they come from no file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.net.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
