"""What the loaders give and the methods take."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Images with their label sets. Letters: B rows, L labels, H x W pixels.

    Attributes:
        index: int64 (B,), the row's place in its data set.
        image: (B, 3, H, W); uint8 as loaded, normalised float32 where a method sees it.
        target: float32 (B, L) of 0 and 1; 0 where unknown.
        known: bool (B, L); False where nobody said whether the label applies. Such cells count in no loss and no
            criterion.
    """

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody asks a batch for
    image: Tensor
    target: Tensor
    known: Tensor
