"""The optimizers of conf/optimizer: their settings, and the PyTorch optimizer that is built of them."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch

from retdm.errors import UserError
from retdm.ranges import Above, AtLeast, Between


class OptimizerSettings:
    """Settings of an optimizer; one of your own is a subclass that ``_target_`` names."""

    def build(self, groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
        """The optimizer of a method's parameter groups, see :func:`retdm.methods.parameter_groups.parameter_groups`."""
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(OptimizerSettings):
    """Stochastic gradient descent.

    Args:
        momentum: share of the last step that is added to the next, from 0 to below 1.
        weight_decay: L2 penalty, added to the gradient.
        nesterov: look ahead by the momentum, which is above 0 then, before the gradient is taken.
    """

    momentum: Annotated[float, Between(0, 1, with_high=False)] = 0.9
    weight_decay: Annotated[float, AtLeast(0)] = 1e-4
    nesterov: bool = False

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise UserError(
                "optimizer.nesterov=true: there is no momentum to look ahead by", "optimizer.momentum=<above 0>, as 0.9"
            )

    def build(self, groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            groups, lr=lr, momentum=self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
        )


@dataclass(frozen=True)
class AdamW(OptimizerSettings):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019).

    Args:
        beta1, beta2: of the running means of the gradient and of its square, from 0 to below 1.
        eps: added to the root of the second mean, above 0.
        weight_decay: taken off the weights themselves, times the rate; off matrices alone, not off biases and scales.
    """

    beta1: Annotated[float, Between(0, 1, with_high=False)] = 0.9
    beta2: Annotated[float, Between(0, 1, with_high=False)] = 0.999
    eps: Annotated[float, Above(0)] = 1e-8
    weight_decay: Annotated[float, AtLeast(0)] = 0.01

    def build(self, groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
        betas = (self.beta1, self.beta2)
        groups = [group | ({"weight_decay": 0.0} if group["is_vectors"] else {}) for group in groups]
        return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=self.eps, weight_decay=self.weight_decay)
