"""An exponential moving average of the weights, which is validated and tested in their place."""

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """Lightning's average of the weights, exponential, with the weights' own buffers.

    After n steps an average keeps the share min(decay, (1 + n) ÷ (10 + n)) of itself: with ``decay`` from the first
    step on, a short training would end near its start.

    Validation sees the average, and what follows it: pictures, and the weights that are tested. Lightning would put the
    weights back before these are saved, here it is done at the epoch's end, which comes after its validation.

    Args:
        decay: share that the average keeps of itself at each step, from 0 to below 1.
    """

    def __init__(self, decay: float) -> None:
        def averaged(average: Tensor, weights: Tensor, steps: int | Tensor) -> Tensor:
            share = torch.clamp((1.0 + torch.as_tensor(steps)) / (10.0 + torch.as_tensor(steps)), max=decay)
            return torch.lerp(weights, average, share.to(weights))

        super().__init__(use_buffers=False, avg_fn=averaged)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do nothing: see the class."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap_models(pl_module)
