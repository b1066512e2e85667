"""A trained run as an object that predicts."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from retdm.backbones.folding import fold_batchnorm
from retdm.batch import BagBatch, Batch
from retdm.data.augment import cached_side, test_view
from retdm.data.source import read_image
from retdm.errors import UserError
from retdm.runs import build
from retdm.runs.folder import RunFolder, read_config
from retdm.runs.kept import check_same, description_of, take
from retdm.training.regions import region_maps
from retdm.training.resume import continue_from

Picture = str | Path | Image.Image | np.ndarray


class Model:
    """What :func:`load` gives.

    Attributes:
        labels: names of the L labels, in the order of the scores.
        dim: D, where it was trained on bags of instances (N, D); None where on images.
        image_size: side of the network's images in pixels; 0 where it was trained on bags.
    """

    def __init__(self, folder: Path | str, device: str = "cpu", own_classes: bool = False) -> None:
        run = RunFolder(folder)
        if not run.best.exists():
            raise UserError(f"there is no checkpoint {run.best}", "give the folder of a run that train.py wrote")
        content = continue_from(run.best)
        description = description_of(content, run.best, own_classes=own_classes)
        if run.config.exists():
            config = read_config(run)
            check_same(description, {"settings": config, "identity": config["identity"]}, run.best)
        self.labels: list[str] = description["labels"]
        self.dim: int | None = description.get("dim")
        self.image_size: int = description["image_size"] or 0
        self.method = build.build_method(description["settings"], self.labels, dim=self.dim, load=False)
        take(self.method, content, run.best)
        fold_batchnorm(self.method.image_net.backbone.net)  # one that was trained is at rest now
        self.method.to(device).eval()

    def predict(self, images: Iterable[Picture], batch_size: int = 32) -> np.ndarray:
        """Scores of images: paths, PIL images, or uint8 arrays (H, W, 3); of bags: arrays (N, D).

        Returns:
            float32 (n, L) in [0, 1].

        Raises:
            UserError: an image cannot be read, a bag does not fit.
        """
        images = list(images)
        if self.dim is not None:
            found = [self.bag_scores(np.asarray(bag), self.dim) for bag in images]
            return np.stack(found) if found else np.zeros((0, len(self.labels)), np.float32)
        batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
        found = [self.scores(torch.stack([self.view(image) for image in batch])) for batch in batches]
        return np.concatenate(found) if found else np.zeros((0, len(self.labels)), np.float32)

    def view(self, image: Picture) -> Tensor:
        """What the network sees of an image: uint8 (3, S, S), S = ``image_size``. Several threads may call it.

        Raises:
            UserError: the image cannot be read.
        """
        if isinstance(image, str | Path):
            image = read_image(Path(image))
        elif isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        side = cached_side(self.image_size)
        if image.size != (side, side):
            image = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        return test_view(np.asarray(image.convert("RGB")), self.image_size)

    @torch.inference_mode()
    def scores(self, views: Tensor) -> np.ndarray:
        """uint8 (B, 3, S, S) as ``view`` gives them -> float32 (B, L) in [0, 1]."""
        return self.method.scores(self._batch(views)).float().cpu().numpy()

    @torch.inference_mode()
    def region_scores(self, views: Tensor) -> np.ndarray:
        """The same of each of h x h regions, which together are the whole image: float32 (B, L, h, h) in [0, 1].

        Of methods with ``scores_instances``.
        """
        return region_maps(self.method, self._batch(views)).cpu().numpy()

    def _batch(self, views: Tensor) -> Batch:
        device = self.method.device
        unused = torch.zeros(len(views), len(self.labels), device=device)
        pixels = self.method.normalised(views.to(device))
        return Batch(torch.arange(len(views), device=device), pixels, unused, unused.bool())

    @torch.inference_mode()
    def bag_scores(self, bag: np.ndarray, dim: int) -> np.ndarray:
        """A bag (N, D) -> float32 (L,) in [0, 1]."""
        if bag.ndim != 2 or bag.shape[1] != dim or len(bag) == 0:
            raise UserError(f"a bag has shape {bag.shape}", f"expected (instances, {dim}) with at least one instance")
        device = self.method.device
        rows = torch.from_numpy(bag.astype(np.float32))[None].to(device)
        unused = torch.zeros(1, len(self.labels), device=device)
        mask = torch.ones(1, len(bag), dtype=torch.bool, device=device)
        batch = BagBatch(torch.full((1,), -1, device=device), rows, mask, unused, unused.bool())
        return self.method.scores(batch)[0].float().cpu().numpy()


def load(folder: Path | str, device: str = "cpu", *, own_classes: bool = False) -> Model:
    """The best checkpoint of a run, ready to predict; its data set need not be there.

    Args:
        folder: of the run.
        device: where to compute, as PyTorch writes it.
        own_classes: let the checkpoint name methods and backbones outside this package, which imports their modules:
            only for checkpoints of your own.

    Raises:
        UserError: there is no readable checkpoint in the folder, or it names a class that is not accepted.
    """
    return Model(folder, device, own_classes)
