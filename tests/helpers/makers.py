"""Small copies of the published sets, drawn in their publishers' layouts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch
from PIL import Image
from torch import nn

from retdm.backbones import Backbone
from retdm.batch import Batch
from retdm.data.source import Counts, ImageSource
from retdm.data.synthetic.source import Synthetic
from retdm.methods.networks.classifier import Classifier

SCENE_NAMES = ("desert", "mountains", "sea", "sunset", "trees")
SCENE_COLOURS = np.array([[220, 180, 90], [120, 110, 110], [40, 90, 190], [230, 90, 40], [40, 130, 50]], np.uint8)


def make_scene(root: Path, n: int = 12, size: tuple[int, int] = (48, 40), seed: int = 0) -> Counts:
    """Draw ``<root>/scene`` with n images (width, height) = ``size``, one band of colour a label on a noisy ground.

    Returns the counts of what was drawn: ``monkeypatch.setattr(Scene, "counts", make_scene(root))`` lets it be opened.
    """
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 5)) < 0.3).astype(int)
    targets[np.arange(n), np.arange(n) % 5] = 1  # none without a label, every label carried from n = 5 on
    (root / "scene" / "original").mkdir(parents=True)
    (root / "scene" / "processed").mkdir()
    width, height = size
    for i, target in enumerate(targets):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for band in np.flatnonzero(target):
            pixels[band * height // 5 : (band + 1) * height // 5] = SCENE_COLOURS[band]
        Image.fromarray(pixels).save(root / "scene" / "original" / f"{i + 1}.jpg")
    write_scene_targets(root / "scene" / "processed" / "miml data.mat", 2 * targets - 1)
    sets = len(np.unique(targets, axis=0))
    return Counts(n, dict(zip(SCENE_NAMES, targets.sum(0).tolist(), strict=True)), sets)


def write_scene_targets(file: Path, signs: np.ndarray) -> None:
    """``miml data.mat`` for signs (n, 5) of -1 and 1, with bags of zeros."""
    bags = np.empty((len(signs), 1), object)
    bags[:, 0] = [np.zeros((9, 15)) for _ in signs]
    names = np.empty((5, 1), object)
    names[:, 0] = SCENE_NAMES
    scipy.io.savemat(file, {"bags": bags, "targets": signs.T.astype(np.int16), "class_name": names})


class PartlyKnown(Synthetic):
    """Drawn scenes of which every third label cell is unknown."""

    def __init__(self, size: int = 60, side: int = 18, **drawn: Any) -> None:
        super().__init__(size, side=side, **drawn)
        self.known = np.arange(self.targets.size).reshape(self.targets.shape) % 3 != 0
        self.fingerprint += "-partly-known"


class SpoiltInTheSecondProcess(Classifier):
    """From the third step on its loss there is no number."""

    def losses(self, batch: Any) -> dict[str, torch.Tensor]:
        bad = self.training and self.global_step >= 2 and self.global_rank == 1
        return {name: loss * (float("nan") if bad else 1) for name, loss in super().losses(batch).items()}


def image_batch(images: torch.Tensor, labels: int = 2) -> Batch:
    """Images (B, 3, H, W) as a batch; every label known and absent."""
    rows = len(images)
    return Batch(torch.arange(rows), images, torch.zeros(rows, labels), torch.ones(rows, labels, dtype=torch.bool))


class FixedFeatures(Backbone):
    """A backbone without parameters: a random projection, never negative, at the scale of a trained network's features.

    What a method does on it is what it does on frozen features.
    """

    def __init__(self, dim: int = 256, weights: str = "none", *, load: bool = True) -> None:
        super().__init__(nn.Identity(), dim=dim, weights=weights, load=load)
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("projection", torch.randn(3 * 16 * 16, dim, generator=generator) / 16)

    @property
    def embeds_places(self) -> bool:
        return False

    def levels(self, image: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        yield "1", image

    def embedding(self, image: torch.Tensor) -> torch.Tensor:
        return (image.flatten(1) @ self.projection).relu()


class Patterns(ImageSource):
    """Pictures that add one noisy pattern a label, in Scene's label sets: learnable from fixed features."""

    def __init__(self, size: int = 400, side: int = 18) -> None:
        rng = np.random.default_rng(0)
        drawn = Synthetic(size)
        self.names, self.ids = drawn.names, drawn.ids
        self.targets, self.known = drawn.targets, drawn.known
        patterns = rng.normal(0, 1, (5, side, side, 3))
        noise = rng.normal(0, 1.5, (size, side, side, 3))
        self.pixels = np.clip(128 + 20 * (np.tensordot(self.targets, patterns, 1) + noise), 0, 255).astype(np.uint8)
        self.fingerprint = f"patterns-{size}-{side}"

    def read(self, i: int) -> Image.Image:
        return Image.fromarray(self.pixels[i])
