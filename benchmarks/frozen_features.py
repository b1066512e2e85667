"""Data with features of a frozen backbone in memory, and methods that begin on them; for scripts that train many."""

import copy

import numpy as np
from numpy.typing import NDArray

from retdm.data.modules import ImageData
from retdm.methods.deep import DeepMethod
from retdm.runs.build import build_data, build_method, features_of
from retdm.runs.start import start_at_frequencies
from retdm.settings.compose import compose_settings
from retdm.settings.run_settings import RunSettings


class FrozenFeatures:
    """The features of one set, computed or read from their cache once: a cache checks what it reads, which costs more
    than a step.

    Args:
        words: settings that all data and methods have, ``data=scene backbone=mobilenet_v2`` and the like.
    """

    def __init__(self, words: list[str]) -> None:
        self.words = [*words, "precompute=true", "schedule=precomputed"]
        self._features: NDArray[np.float32] | None = None

    def data(self, words: list[str]) -> ImageData:
        """The set under further settings, with its features."""
        settings = compose_settings([*self.words, *words])
        data = build_data(settings)
        assert isinstance(data, ImageData)
        if self._features is None:
            found = features_of(settings, data, _network(settings, data.labels))
            assert isinstance(found, ImageData) and found.features is not None
            rows = data.rows_of(*data.splits)
            self._features = np.zeros(found.features.shape, np.float32)
            self._features[rows] = found.features[rows]
        return data.with_features(self._features, None)

    def methods(self, words: list[str], data: ImageData, count: int = 1) -> list[DeepMethod]:
        """A method under further settings at its beginning, so many times."""
        settings = compose_settings([*self.words, *words])
        labels, moments = data.training_labels(), data.moments()
        method = _network(settings, data.labels)
        method.use_training_labels(labels)
        if settings.start == "frequencies":
            start_at_frequencies(method, labels)
        method.encoder.set_moments(*moments)
        return [copy.deepcopy(method) for _ in range(count)]


def _network(settings: RunSettings, labels: list[str]) -> DeepMethod:
    method = build_method(settings, labels)
    assert isinstance(method, DeepMethod)
    return method
