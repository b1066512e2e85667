"""Features of images, whatever network makes them."""

import logging
import os
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import OmegaConf

from retdm import registry
from retdm.api.hydra_apart import hydra_apart
from retdm.api.words import words_of
from retdm.runs.errors import as_user_error
from retdm.settings.features import check_features

if TYPE_CHECKING:
    from retdm.data.images import Picture

log = logging.getLogger("retdm")


class Embedded(NamedTuple):
    """Features of n images.

    Attributes:
        features: float32 (n, F); of ``view="maps"`` (n, C, h, w).
        names: paths of the images, or their places: ``image 3``.
        about: what the features depend on, see :class:`retdm.runs.trained.extractor.Extractor`.
    """

    features: NDArray[np.float32]
    names: list[str]
    about: dict[str, Any]


def embed(
    images: "Picture | Iterable[Picture]",
    *,
    backbone: str | None = None,
    run: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> Embedded:
    """Features of images by any backbone, or by the network of a trained run, as ``retdm features`` writes them.

    Args:
        images: one image or several, see :func:`retdm.runs.trained.inputs.pictures` and
            :func:`retdm.data.images.as_rgb`.
        backbone: its name, as in training; its own settings are ``**{"backbone.weights": "vgg16.pt"}``.
        run: folder of a run, in the place of a backbone.
        settings: those of the command: ``view``, ``stages``, ``image_size``, ``precision``, ``device``, ``batch_size``,
            ``value_range``, ``user_classes``.

    Raises:
        UserError: a setting is wrong, as the command would say it, or an image cannot be read.
    """
    asked, choices = _composed({"backbone": backbone, "run": run, **settings})
    import torch  # it takes seconds, which a wrong setting does not wait for

    from retdm.runs.trained.extractor import extractor_of
    from retdm.runs.trained.views import seen

    extractor = extractor_of(asked, choices)
    if extractor.warning:
        log.warning(extractor.warning)
    size = asked["batch_size"]
    rows = seen(extractor, images, 2 * size, how_to_scale="value_range=[lowest, highest] states it")
    names: list[str] = []
    found: list[NDArray[np.float32]] = []
    while batch := list(islice(rows, size)):
        names += [name for name, _ in batch]
        found.append(extractor.features(torch.stack([view for _, view in batch])))
    if not found:
        side = extractor.image_size
        found.append(extractor.features(torch.zeros(1, 3, side, side, dtype=torch.uint8))[:0])
    return Embedded(np.concatenate(found), names, extractor.about)


def _composed(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The checked settings, and group -> name of its YAML file."""
    words = words_of("", {key: value for key, value in settings.items() if value is not None})
    try:
        with hydra_apart(), initialize_config_dir(str(registry.CONF), version_base="1.3"):
            config = compose("features", words, return_hydra_config=True)
            choices = dict(config.hydra.runtime.choices)
            asked: Any = OmegaConf.to_container(config, resolve=False)
    except Exception as error:
        known = as_user_error(error)
        if known is None:
            raise
        raise known from error
    del asked["hydra"]
    check_features(asked, choices)
    return asked, choices
