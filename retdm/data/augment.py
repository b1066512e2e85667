"""The views of a cached image: those of training, changed and mixed as ``augment`` chooses, and that of tests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as transform

from retdm.batch import Batch
from retdm.data.preparation import WHOLE, Preparation
from retdm.ranges import AtLeast, Between

# RETDM section III: images are resized to 256, cropped at four corners and the centre, the crops brought to 224, "as
# suggested in [53]" (Wang et al. 2015, arXiv 1507.02159), whose crops are of height and width 256, 224, 192 or 168 and
# mirrored or not. Kept as fractions, so that other image sizes see the same windows.
CROP_FRACTIONS = (1.0, 224 / 256, 192 / 256, 168 / 256)


@dataclass(frozen=True)
class Augmentation:
    """How a training image is changed each time it is shown; one of your own is a subclass that ``_target_`` names.

    Args:
        mixup: alpha of MixUp (Zhang et al., ICLR 2018); above 0, an image and its labels are mixed with those of
            another training image, in shares λ and 1 − λ, λ drawn from Beta(alpha, alpha).
        cutmix: alpha of CutMix (Yun et al., ICCV 2019); above 0, a box of an image shows the same box of another one,
            and the labels are mixed by area. Where both are above 0, each image draws one of the two.
    """

    mixup: Annotated[float, AtLeast(0)] = 0.0
    cutmix: Annotated[float, AtLeast(0)] = 0.0

    def view(
        self, image: np.ndarray, size: int, generator: np.random.Generator, preparation: Preparation = WHOLE
    ) -> Tensor:
        """One view, uint8 (3, size, size), of a cached image (S, S, 3) uint8, which stays as it is.

        Args:
            generator: gives all that is drawn. It is new for each (seed, epoch, index), so that workers, processes and
                resumed runs agree.
            preparation: how images are resized.
        """
        raise NotImplementedError

    @property
    def mixes(self) -> bool:
        """Targets lie between 0 and 1."""
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True)
class Whole(Augmentation):
    """The test view: the whole image, never changed.

    Args: see :class:`Augmentation`.
    """

    def view(
        self, image: np.ndarray, size: int, generator: np.random.Generator, preparation: Preparation = WHOLE
    ) -> Tensor:
        return test_view(image, size, preparation)


@dataclass(frozen=True)
class Crops(Augmentation):
    """Windows at the corners and the centre, in four sizes, mirrored or not, as in RETDM's paper (section III).

    Args: see :class:`Augmentation`.
    """

    def view(
        self, image: np.ndarray, size: int, generator: np.random.Generator, preparation: Preparation = WHOLE
    ) -> Tensor:
        top, left, height, width = crop_window(generator, image.shape[0])
        window = image[top : top + height, left : left + width]
        if generator.random() < 0.5:
            window = window[:, ::-1]
        pixels = torch.from_numpy(np.array(window)).permute(2, 0, 1)
        resized: Tensor = transform.resize(pixels, [size, size], _mode(preparation), antialias=True)
        return resized


@dataclass(frozen=True)
class Light(Augmentation):
    """torchvision's RandomResizedCrop and horizontal flip.

    Args:
        scale: least share of the image's area that a crop has; all areas from there to 1 are equally frequent.
        mixing: see :class:`Augmentation`.
    """

    scale: Annotated[float, Between(0, 1, with_low=False)] = 0.35

    def view(
        self, image: np.ndarray, size: int, generator: np.random.Generator, preparation: Preparation = WHOLE
    ) -> Tensor:
        return _transformed(_light(size, self.scale, _mode(preparation)), image, generator)


@dataclass(frozen=True)
class Strong(Light):
    """The crop and flip of :class:`Light`, then one of fourteen changes of shape or colour, of random strength.

    These are torchvision's TrivialAugmentWide (Müller and Hutter, ICCV 2021).

    Args: see :class:`Light`.
    """

    def view(
        self, image: np.ndarray, size: int, generator: np.random.Generator, preparation: Preparation = WHOLE
    ) -> Tensor:
        return _transformed(_strong(size, self.scale, _mode(preparation)), image, generator)


CROPS = Crops()


def crop_window(generator: np.random.Generator, side: int) -> tuple[int, int, int, int]:
    """One random window (top, left, height, width) of a square of ``side``.

    It sits at a corner or the centre; its height and width are equal or neighbours in the list of sizes, so that
    shapes change by at most a quarter.
    """
    height = int(generator.integers(len(CROP_FRACTIONS)))
    neighbours = [w for w in (height - 1, height, height + 1) if 0 <= w < len(CROP_FRACTIONS)]
    width = neighbours[int(generator.integers(len(neighbours)))]
    h, w = round(side * CROP_FRACTIONS[height]), round(side * CROP_FRACTIONS[width])
    place = int(generator.integers(5))
    top, left = [(0, 0), (0, side - w), (side - h, 0), (side - h, side - w), ((side - h) // 2, (side - w) // 2)][place]
    return top, left, h, w


def test_view(image: np.ndarray, size: int, preparation: Preparation) -> Tensor:
    """The whole cached image (S, S, 3) uint8 as uint8 (3, size, size)."""
    return torch.from_numpy(np.array(preparation.resized(image, size))).permute(2, 0, 1)


def mixed(
    batch: Batch, others: Batch, generators: Sequence[np.random.Generator], *, mixup: float, cutmix: float
) -> Batch:
    """Each row of a batch mixed with the same row of another one.

    torchvision's transforms mix the rows of one batch in one share. Here each row has its own share and its own other
    image, so that neither depends on the batches into which processes divide the rows.

    Args:
        batch, others: B rows each, images uint8.
        generators: one a row, of all that is drawn for it.
        mixup, cutmix: see :class:`Augmentation`, one of them above 0.

    Returns:
        B rows, images uint8, with the index of ``batch`` and targets in [0, 1]. A cell is known where it is known of
        both images.
    """
    kinds = [(mix, alpha) for mix, alpha in ((_blended, mixup), (_cut, cutmix)) if alpha]
    images, shares = [], []
    for own, other, generator in zip(batch.image, others.image, generators, strict=True):
        mix, alpha = kinds[int(generator.integers(len(kinds)))]
        image, share = mix(own, other, float(generator.beta(alpha, alpha)), generator)
        images.append(image)
        shares.append(share)
    known = batch.known & others.known
    target = torch.lerp(others.target, batch.target, torch.tensor(shares)[:, None])
    return batch._replace(image=torch.stack(images), target=target.where(known, 0), known=known)


def _blended(own: Tensor, other: Tensor, share: float, _: np.random.Generator) -> tuple[Tensor, float]:
    return torch.lerp(other.float(), own.float(), share).round_().to(torch.uint8), share


def _cut(own: Tensor, other: Tensor, share: float, generator: np.random.Generator) -> tuple[Tensor, float]:
    """``own`` with a box out of ``other``, whose share of the area is 1 − ``share`` where it lies inside, and the share
    that is left of ``own``."""
    side = own.shape[-1]
    half = int(0.5 * (1 - share) ** 0.5 * side)
    corners = generator.integers(side, size=2) + np.array([[-half], [half]])
    (top, left), (bottom, right) = corners.clip(0, side).tolist()
    image = own.clone()
    image[:, top:bottom, left:right] = other[:, top:bottom, left:right]
    return image, 1 - (bottom - top) * (right - left) / side**2


@contextmanager
def torch_draws(generator: np.random.Generator) -> Iterator[None]:
    """A block in which torch's global generator, from which torchvision draws, is seeded by ``generator``; after it,
    it stands where it stood."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(generator.integers(2**63)))  # torch.manual_seed would seed GPUs too
        yield


def _transformed(transforms: Any, image: np.ndarray, generator: np.random.Generator) -> Tensor:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    with torch_draws(generator):
        view: Tensor = transforms(pixels)
    return view


@cache
def _light(size: int, scale: float, mode: v2.InterpolationMode) -> v2.Compose:
    return v2.Compose([v2.RandomResizedCrop(size, (scale, 1.0), interpolation=mode), v2.RandomHorizontalFlip()])


@cache
def _strong(size: int, scale: float, mode: v2.InterpolationMode) -> v2.Compose:
    return v2.Compose([_light(size, scale, mode), v2.TrivialAugmentWide()])


def _mode(preparation: Preparation) -> v2.InterpolationMode:
    """torchvision's name of an interpolation."""
    return v2.InterpolationMode(preparation.interpolation)
