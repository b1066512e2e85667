"""Features of a frozen backbone, computed once for each image of a data set and kept beside its pixels."""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from retdm.data.locked import locked
from retdm.data.module import ImageData
from retdm.errors import UserError
from retdm.methods.base import Method
from retdm.methods.fitted import Features
from retdm.screen import track

VERSION = 3  # counts up when the same key would give other features
SAVED_EVERY = 20.0  # seconds of work that a kill may cost


def use_features(data: ImageData, method: Method, of: Mapping[str, Any], folder: Path | None) -> None:
    """Let ``data`` give what the method's frozen backbone sees in the place of images.

    Features of all stages are kept in one file, so every method and view that it serves shares them; regions, which are
    many, in half precision.

    Args:
        data: whose images are looked at, with their test views.
        method: whose backbone looks; it lies on the device that computes.
        of: what the features depend on beside the images: the backbone and its weights' content.
        folder: of the image cache; None keeps nothing and computes them now.

    Raises:
        UserError: the folder cannot be written or its disk is too small.
    """
    net = method.image_net
    with torch.no_grad():
        blank = torch.zeros(1, 3, data.image_size, data.image_size, device=method.device)
        shape = (len(data.source), *net.seen(blank).shape[1:])
    kind = np.dtype(np.float16 if len(shape) > 2 else np.float32)
    if folder is None:
        features = np.zeros(shape, kind)
        _compute(data, method, features, 0, lambda done: None)
    else:
        key = {
            "version": VERSION,
            "images": data.source.fingerprint,
            "size": data.image_size,
            "kind": data.images_kind,
            "transform": net.backbone.transform.as_dict(),
            "precision": str(net.autocast),
            "view": net.kept,
            **of,
        }
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        try:
            features = _kept(data, method, folder / f"{name}.features", shape, kind)
        except OSError as error:
            raise UserError(
                f"the features cannot be written: {folder}: {error.strerror or error}",
                "choose another folder with data.cache=<folder>, or make room there",
            ) from error
    data.features = features
    data.columns = net.columns() if isinstance(net, Features) else None
    net.given = True


def _kept(
    data: ImageData, method: Method, file: Path, shape: tuple[int, ...], kind: np.dtype[Any]
) -> NDArray[np.floating[Any]]:
    """The features in ``file``, computed where they are not there yet, from where a killed computation stopped."""
    size = math.prod(shape) * kind.itemsize
    if not file.exists():
        with locked(file.with_suffix(".lock")):
            if not file.exists():
                part, place = file.with_suffix(".part"), file.with_suffix(".place")
                begun = int(place.read_text()) if place.exists() and part.exists() else 0
                if not begun and size > (free := shutil.disk_usage(file.parent).free):
                    raise UserError(
                        f"the features need {size / 1e9:.1f} GB in {file.parent}, where {free / 1e9:.1f} GB are free",
                        "choose another folder with data.cache=<folder>, or make room there",
                    )
                features = np.memmap(part, kind, "r+" if begun else "w+", shape=shape)

                def save(done: int) -> None:
                    features.flush()
                    place.with_suffix(".place.part").write_text(str(done))
                    place.with_suffix(".place.part").replace(place)

                _compute(data, method, features, begun, save)
                features.flush()
                part.replace(file)
                place.unlink(missing_ok=True)
    if file.stat().st_size != size:
        raise UserError(f"the features {file} are damaged: another size", f"delete {file} and run again")
    return np.memmap(file, kind, "r", shape=shape)


def _compute(data: ImageData, method: Method, into: NDArray[np.floating[Any]], begun: int, save: Any) -> None:
    """Fill ``into`` from the batch that begins with row ``begun`` of those that can be read; ``save(rows done)``."""
    rows = data.readable
    loader = data.views(rows[begun:])
    done, saved = begun, time.monotonic()
    device = method.device
    title = f"features of {len(rows) - begun:,} images, once"
    for batch in track(loader, title, total=len(loader)):
        image = method.normalised(batch.image.to(device))
        with torch.no_grad():
            into[batch.index.numpy()] = method.image_net.seen(image).cpu().numpy()
        done += len(batch.index)
        if time.monotonic() - saved > SAVED_EVERY:
            save(done)
            saved = time.monotonic()
    torch.cuda.empty_cache()
