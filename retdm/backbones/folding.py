"""Frozen BatchNorm folded into the convolution before it, while both keep their parameters and names."""

from typing import cast

import torch
from torch import Tensor, nn


class _FoldingConv(nn.Conv2d):
    """A convolution that includes the frozen BatchNorm behind it; gradients reach both modules' parameters."""

    norm: list[nn.BatchNorm2d]  # in a list, so that it is not registered and saved a second time

    def forward(self, input: Tensor) -> Tensor:
        norm = self.norm[0]
        scale = norm.weight * torch.rsqrt(cast(Tensor, norm.running_var) + norm.eps)
        shift = norm.bias - cast(Tensor, norm.running_mean) * scale
        if self.bias is not None:
            shift = shift + self.bias * scale
        folded: Tensor = self._conv_forward(input, self.weight * scale[:, None, None, None], shift)
        return folded


class _FoldedNorm(nn.BatchNorm2d):
    """A BatchNorm that the convolution before it includes: the identity."""

    def forward(self, input: Tensor) -> Tensor:
        return input


def fold_batchnorm(net: nn.Module) -> int:
    """Fold each BatchNorm that directly follows a convolution among its parent's children, in place.

    With frozen statistics the two are one linear map; computing it as one saves a pass over the activations forward and
    one backward, where small networks on a CPU spend their time.

    Returns:
        The number of folded pairs.
    """
    pairs = 0
    for parent in list(net.modules()):
        children = list(parent.children())
        for conv, norm in zip(children, children[1:], strict=False):
            if type(conv) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d:
                continue
            if conv.out_channels == norm.num_features and norm.affine and norm.track_running_stats:
                conv.__class__ = _FoldingConv
                norm.__class__ = _FoldedNorm
                cast(_FoldingConv, conv).norm = [norm]
                pairs += 1
    return pairs
