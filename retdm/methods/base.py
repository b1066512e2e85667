"""The base of every method: labels, the images' normalisation, scores."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch, Batch, tensors_of
from retdm.methods.components.encoder import Encoder

Calibrate = Literal["none", "temperature", "platt", "isotonic"]


class Predictions(NamedTuple):
    """Scores of some rows beside their labels: index (B,), scores (B, L) in [0, 1], target (B, L), known (B, L)."""

    index: Tensor  # type: ignore[assignment]  # as in Batch
    scores: Tensor
    target: Tensor
    known: Tensor


def draw_seed(*numbers: int) -> int:
    """One seed from several non-negative numbers, 63 bits."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Method(LightningModule):
    """A method: from images or bags to scores of labels.

    It is trained by gradient descent (:class:`retdm.methods.deep.DeepMethod`) or fitted
    (:class:`retdm.methods.fitted.FittedMethod`).

    Args:
        backbone: the network that reads images; its transform normalises them.
        labels: names of the L labels, in the order of targets and scores.
        decide: name of the rule that turns scores into label sets, one of ``retdm.decisions.rules``.
        calibrate: the calibration of the scores after training, see ``retdm.decisions.calibration``.
        seed: of everything that is drawn at random.

    Attributes:
        takes: the kinds of batches of a data set that it can work on.
        exports: its scores are tensor operations of fixed shapes, which can be exported as a program.
        rows_of_checkpoint: dotted names of its tensors of which a checkpoint may have another number of rows, all of
            them the same number.
        has_thresholds: it chooses a threshold a label on its training split, the buffer ``thresholds`` (L,).
    """

    takes: ClassVar[frozenset[type]] = frozenset({Batch})
    exports: ClassVar[bool] = True
    rows_of_checkpoint: ClassVar[tuple[str, ...]] = ()
    has_thresholds: ClassVar[bool] = False
    encoder: Encoder
    thresholds: Tensor
    pixel_mean: Tensor
    pixel_deviation: Tensor

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        decide: str = "half",
        calibrate: Calibrate = "none",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.labels = list(labels)
        self.decide, self.calibrate, self.seed = decide, calibrate, seed
        # Buffers, because making a GPU tensor of plain numbers waits for the GPU; the checkpoint has the transform.
        for name, numbers in (("pixel_mean", backbone.transform.mean), ("pixel_deviation", backbone.transform.std)):
            self.register_buffer(name, torch.tensor(numbers).view(1, 3, 1, 1), persistent=False)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        saved = [len(state_dict[prefix + name]) for name in self.rows_of_checkpoint if prefix + name in state_dict]
        for name in self.rows_of_checkpoint if saved else ():
            tensor = attrgetter(name)(self)
            tensor.data = tensor.new_empty(saved[0], *tensor.shape[1:])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def scores(self, batch: AnyBatch) -> Tensor:
        """Probabilities (B, L) in [0, 1] for a batch of a kind that it ``takes``, or for its precomputed features."""
        raise NotImplementedError

    @property
    def scores_instances(self) -> bool:
        """True where :meth:`instance_scores` works."""
        return False

    def instance_scores(self, batch: AnyBatch) -> Tensor:
        """Scores (B, N, L) in [0, 1] of the instances of bags, or of the regions of images."""
        raise NotImplementedError

    @classmethod
    def takes_mixed_targets(cls, config: Mapping[str, Any]) -> bool:
        """Whether the method can be trained on targets between 0 and 1, as MixUp and CutMix make them; most cannot,
        for they compare, rank or count whole label sets. ``config`` has the method's settings."""
        return False

    @classmethod
    def nested_settings(cls, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Keys of ``config`` that hold settings of their own, with the annotations of these.

        Raises:
            UserError: such a key names something that does not exist.
        """
        return {}

    def predictions(self, batch: AnyBatch) -> Predictions:
        """Scores of a batch beside its labels."""
        return Predictions(batch.index, self.scores(batch), batch.target, batch.known)

    def prepared(self, batch: Any) -> Any:
        """A data set's batch on the method's device, its images normalised: as Lightning prepares a loader's batch."""
        there = {name: column.to(self.device) for name, column in tensors_of(batch).items()}
        return self.on_after_batch_transfer(batch._replace(**there), 0)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch._replace(image=self.normalised(batch.image)) if isinstance(batch, Batch) else batch

    def normalised(self, image: Tensor) -> Tensor:
        """Images uint8 (B, 3, H, W) as float32, by the mean and deviation of the backbone's transform."""
        image = (image.float() / 255 - self.pixel_mean) / self.pixel_deviation
        return image.contiguous(memory_format=torch.channels_last)
