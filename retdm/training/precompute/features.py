"""Features of a frozen backbone, computed once for each image of a data set and cached beside its pixels."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from retdm.data.image_cache import DecodedImages
from retdm.data.modules import ImageData
from retdm.display.screen import track
from retdm.methods.base import Method
from retdm.training.inference import infer
from retdm.training.precompute.arrays import precomputed_array

VERSION = 3  # counts up when the same key would give other features
SAVED_EVERY = 20.0  # seconds of work that a kill may cost


def precompute_features(data: ImageData, method: Method, of: Mapping[str, Any], folder: Path | None) -> ImageData:
    """The same data with features of the method's frozen backbone in the place of images.

    Features of all stages are cached in one file, which all methods and views share; regions, which are many, in half
    precision.

    Args:
        data: the images; features are of their test views.
        method: on the device that computes.
        of: what the features depend on beside the images: the backbone and its weights' content.
        folder: of the image cache; None caches nothing and computes them now.

    Raises:
        UserError: the folder cannot be written or its disk is too small.
    """
    net = method.encoder
    with torch.no_grad():
        blank = torch.zeros(1, 3, data.image_size, data.image_size, device=method.device)
        shape = (len(data.source), *net.extract(blank).shape[1:])
    kind = np.dtype(np.float16 if len(shape) > 2 else np.float32)
    key: dict[str, Any] = {}
    if isinstance(data.images, DecodedImages):
        folder = None  # their content is not known
    else:
        key = {
            "version": VERSION,
            "images": data.images.blocks.content,
            "size": data.image_size,
            "transform": net.backbone.transform.as_dict(),
            "precision": str(net.autocast),
            "view": net.cached_as,
            **of,
        }
    features = precomputed_array(folder, "features", key, shape, kind, partial(_compute, data, method))
    return data.with_features(features, net.columns())


def _compute(
    data: ImageData, method: Method, into: NDArray[np.floating[Any]], begun: int, save: Callable[[int], None]
) -> None:
    """Fill ``into`` from row ``begun`` on, where rows can be read; ``save(rows that are done)`` now and then."""
    rows = data.readable[data.readable >= begun]
    loader = data.views(rows, on_gpu=method.device.type == "cuda")
    saved = time.monotonic()
    title = f"features of {len(rows):,} images, once"
    batches = track(loader, title, total=len(loader))
    for batch, features in infer(method, batches, lambda batch: method.encoder.extract(batch.image)):
        into[batch.index.cpu().numpy()] = features.cpu().numpy()
        if time.monotonic() - saved > SAVED_EVERY:
            save(int(batch.index[-1]) + 1)
            saved = time.monotonic()
    torch.cuda.empty_cache()
