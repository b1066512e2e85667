"""A tensor's gradient, which must be there."""

from torch import Tensor


def gradient(x: Tensor) -> Tensor:
    """``x.grad`` of a leaf that a backward pass has reached."""
    assert x.grad is not None
    return x.grad
