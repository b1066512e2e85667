"""What methods on feature vectors share. Notation: n training rows, B rows to score, F features, L labels."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch
from retdm.methods.components.labels import Array, Bools
from retdm.methods.components.multilevel_encoder import MultilevelEncoder
from retdm.methods.fitted import FittedMethod
from retdm.methods.tuning import FoldScores


class FeatureMethod(FittedMethod):
    """A method that is fitted to features of a frozen backbone, one vector an image.

    A subclass writes :meth:`fit_once`, which takes features float32 (n, F), and :meth:`decision`.

    Args:
        backbone, labels: see :class:`retdm.methods.fitted.FittedMethod`.
        features: the stages of :class:`retdm.methods.components.multilevel_encoder.MultilevelEncoder`.
        fitted: see :class:`retdm.methods.fitted.FittedMethod`.
    """

    encoder: MultilevelEncoder

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        features: str | list[str | int] = "multilevel",
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        self.encoder = MultilevelEncoder(backbone, features)

    def decision(self, features: Tensor) -> Tensor:
        """Features (B, F) float64 to scores in [0, 1] (B, L), float64."""
        raise NotImplementedError

    def scores(self, batch: AnyBatch) -> Tensor:
        self.check_fitted()
        return self.decision(self.encoder(batch).double())

    def fold_scores(self, examples: NDArray[Any], target: NDArray[Any], known: NDArray[np.bool_]) -> FoldScores:
        def scores(fitted: Bools, held: Bools) -> Array:
            self.fit_once(examples[fitted], target[fitted], known[fitted])
            found: Array = self.decision(torch.from_numpy(examples[held]).to(self.device).double()).cpu().numpy()
            return found

        return scores
