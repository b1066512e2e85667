"""The base of every method: labels, the images' normalisation, scores."""

from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.batch import Batch
from retdm.methods.components.encoder import Encoder


class Predictions(NamedTuple):
    """Rows of a part as a method scores them: index (B,), scores (B, L) in [0, 1], target (B, L), known (B, L)."""

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
        backbone: whose transform its images need.
        labels: names of the L labels, in the order of targets and scores.
        decide: rule that turns scores into label sets: ``half``, ``top3`` or ``validation``.
        seed: of all that is drawn.

    Attributes:
        takes: kinds of batches.
        exports: its scores are tensor operations of fixed shapes, which can be written down as a program.
        description: what the checkpoint says beside the weights, plain values.
    """

    takes: ClassVar[frozenset[type]] = frozenset({Batch})
    exports: ClassVar[bool] = True
    encoder: Encoder
    pixel_mean: Tensor
    pixel_deviation: Tensor

    def __init__(self, backbone: Backbone, labels: list[str], *, decide: str = "half", seed: int = 0) -> None:
        super().__init__()
        self.labels = list(labels)
        self.decide, self.seed = decide, seed
        self.description: dict[str, Any] = {}
        # Buffers, for to make a tensor of plain numbers on a GPU waits for the GPU; the checkpoint has the transform.
        for name, numbers in (("pixel_mean", backbone.transform.mean), ("pixel_deviation", backbone.transform.std)):
            self.register_buffer(name, torch.tensor(numbers).view(1, 3, 1, 1), persistent=False)

    def scores(self, batch: Any) -> Tensor:
        """Probabilities (B, L) in [0, 1] of a batch of a kind that it ``takes``."""
        raise NotImplementedError

    @property
    def scores_instances(self) -> bool:
        """It has ``instance_scores(batch) -> (B, N, L)`` of instances, in [0, 1]."""
        return False

    def predictions(self, batch: Any) -> Predictions:
        return Predictions(batch.index, self.scores(batch), batch.target, batch.known)

    def prepared(self, batch: Any) -> Any:
        """A batch as a data set gives it, on the method's device and normalised: what Lightning does of a loader's."""
        return self.on_after_batch_transfer(type(batch)(*(column.to(self.device) for column in batch)), 0)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch._replace(image=self.normalised(batch.image)) if isinstance(batch, Batch) else batch

    def normalised(self, image: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) to what the backbone was trained on: float32, mean and deviation of its transform."""
        image = (image.float() / 255 - self.pixel_mean) / self.pixel_deviation
        return image.contiguous(memory_format=torch.channels_last)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["retdm"] = self.description
