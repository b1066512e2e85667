"""Arrays that are computed once for a data set and cached on disk: features of images, distances between bags."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from retdm.data.cached_array import CachedArray, Fill, cached_array


def precomputed_array(
    folder: Path | None, kind: str, key: Mapping[str, Any], shape: tuple[int, ...], dtype: DTypeLike, fill: Fill
) -> NDArray[Any] | CachedArray:
    """An array from the cache, or computed and written there.

    Args:
        folder: of the cache; None computes the array in memory and writes nothing.
        kind: ``features`` or ``distances``: ends the file's name.
        key: plain values on which the array depends.
        shape: of the array, a row an image or a bag.
        dtype: of its elements.
        fill: see :func:`retdm.data.cached_array.cached_array`.

    Raises:
        UserError: the folder cannot be written or its disk is too small.
    """
    if folder is None:
        array = np.zeros(shape, dtype)
        fill(array, 0, lambda done: None)
        return array
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return cached_array(folder / f"{name}.{kind}", f"the {kind}", shape, dtype, fill)
