"""Batches, which loaders give and methods take."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # data sets say what they give before PyTorch, which takes seconds, is there
    from torch import Tensor


class Batch(NamedTuple):
    """Images with their label sets. Notation: B rows, L labels, H x W pixels.

    Attributes:
        index: int64 (B,), the row's place in its data set.
        image: (B, 3, H, W); uint8 as loaded, normalised float32 where a method sees it.
        target: float32 (B, L) of 0 and 1, of numbers between them where images are mixed; 0 where unknown.
        known: bool (B, L); False where nobody said whether the label applies. Such cells count in no loss and no
            criterion.
        total: rows of the global batch, of which each process has its slice; None where the rows are no such slice.
    """

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody asks a batch for
    image: Tensor
    target: Tensor
    known: Tensor
    total: int | None = None


def unlabelled(image: Tensor, labels: int) -> Batch:
    """A batch of images (B, 3, H, W) of which no label is known."""
    import torch

    rows = image.shape[0]  # not len, which would fix the number of images in an exported program
    target = torch.zeros(rows, labels, device=image.device)
    return Batch(torch.arange(rows, device=image.device), image, target, torch.zeros_like(target, dtype=torch.bool))


class FeatureBatch(NamedTuple):
    """Precomputed features with their label sets, in the place of the images of a :class:`Batch`. Notation: F features.

    Attributes:
        index: int64 (B,), the row's place in its data set.
        features: (B, F), or a map of regions (B, F, h, w); float32, or float16 as a cache holds maps.
        target: float32 (B, L) of 0 and 1; 0 where unknown.
        known: bool (B, L); False where nobody said whether the label applies.
        total: as of a :class:`Batch`.
    """

    index: Tensor  # type: ignore[assignment]  # as in Batch
    features: Tensor
    target: Tensor
    known: Tensor
    total: int | None = None


class BagBatch(NamedTuple):
    """Bags of instances with their label sets. Notation: B bags, N places for instances, D features, L labels.

    Attributes:
        index: int64 (B,), the bag's place in its data set.
        bag: float32 (B, N, D), N the size of the batch's largest bag; 0 in places without an instance.
        mask: bool (B, N); True where there is an instance, which is at least once a bag.
        target: float32 (B, L) of 0 and 1; 0 where unknown.
        known: bool (B, L); False where nobody said whether the label applies.
        total: as of a :class:`Batch`.
    """

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody asks a batch for
    bag: Tensor
    mask: Tensor
    target: Tensor
    known: Tensor
    total: int | None = None


AnyBatch = Batch | FeatureBatch | BagBatch


def tensors_of(batch: AnyBatch) -> dict[str, Tensor]:
    """The columns of a batch by name, a row an image or bag in each: all but ``total``."""
    return {name: column for name, column in batch._asdict().items() if name != "total"}


class TrainingLabels(NamedTuple):
    """Label sets of the n rows of a training split. Notation: N rows in the data set, L labels.

    Attributes:
        target: uint8 (n, L) of 0 and 1.
        known: bool (n, L).
        frequency: int64 (N,), how many training rows have the label set of each row of the data set, which is known in
            the same labels with the same values.
    """

    target: Tensor
    known: Tensor
    frequency: Tensor

    @property
    def counts(self) -> tuple[Tensor, Tensor]:
        """Rows that are known to have each label, and those that are known not to have it: int64 (L,) each."""
        positive = (self.target > 0) & self.known
        return positive.sum(0), (self.known & ~positive).sum(0)
