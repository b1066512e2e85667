"""A source, split and loaded."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from retdm.batch import Batch
from retdm.data import splits
from retdm.data.augment import cached_side
from retdm.data.cache import open_cache
from retdm.data.loader import GlobalBatches, Images, as_is
from retdm.data.source import Source
from retdm.errors import UserError


class ImageData(LightningDataModule):
    """Loaders over the parts of one data set.

    Args:
        source: the images and their label sets.
        split: number of the random split.
        test_fraction: share of all images for testing.
        validation_fraction: share of the training part on which everything is chosen.
        train_size: images to train on at most; None takes all.
        batch_size: rows of a global batch, at least 2.
        workers: loading processes; None is 0 on the CPU, where they would only take the network's cores.
        image_size: side of the network's images in pixels.
        faults: ``error`` stops at an image that cannot be read, ``skip`` leaves it out and counts it.
        cache: folder of the decoded images; never inside the data's own.
        keep_pairs_together: ``none``, ``identical`` or ``near``: which pairs of images lie on one side of the split.
        seed: of the training order and the augmentation.
    """

    def __init__(
        self,
        source: Source,
        *,
        split: int = 0,
        test_fraction: float = 0.2,
        validation_fraction: float = 0.1,
        train_size: int | None = None,
        batch_size: int = 64,
        workers: int | None = None,
        image_size: int = 224,
        faults: str = "error",
        cache: str = "outputs/cache",
        keep_pairs_together: str = "identical",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 2:
            raise UserError(f"data.batch_size={batch_size} is too small", "take at least 2: losses compare rows")
        if image_size < 8:
            raise UserError(f"data.image_size={image_size} is too small", "take at least 8")
        if faults not in ("error", "skip"):
            raise UserError(f"data.faults={faults} is not a policy", "error or skip")
        if workers is not None and workers < 0:
            raise UserError(f"data.workers={workers} is not a number of processes", "take 0 or more")
        self.source, self.batch_size, self.image_size, self.seed = source, batch_size, image_size, seed
        self.workers = workers
        self.cached = open_cache(source, cached_side(image_size), Path(cache))
        readable = np.ones(len(source), bool)
        readable[list(self.cached.faults)] = False
        if self.cached.faults and faults == "error":
            message = next(iter(self.cached.faults.values()))
            others = f" (and {len(self.cached.faults) - 1:,} more)" if len(self.cached.faults) > 1 else ""
            raise UserError(message + others, "mend the files, or leave them out with data.faults=skip")
        pairs = self._pairs(Path(cache))
        rows = np.flatnonzero(readable)
        groups = splits.groups_of(pairs, keep_pairs_together, len(source))
        chosen = splits.make_split(
            len(rows),
            seed=split,
            test_fraction=test_fraction,
            validation_fraction=validation_fraction,
            train_size=train_size,
            groups=None if groups is None else groups[rows],
            given=None if source.split is None else source.split[rows],
        )
        self.parts = {name: rows[getattr(chosen, name)] for name in ("train", "validation", "test")}
        in_rows = splits.Split(**self.parts)
        self.manifest = splits.manifest(in_rows, source.ids, pairs, split, source.fingerprint)
        self.left_out = {"unreadable_images": len(self.cached.faults)}
        self.batches: GlobalBatches | None = None
        self.position = (0, 0)  # (epoch, batch) where training goes on
        self.judged = "test"  # the part that a test pass reads

    def _pairs(self, folder: Path) -> dict[str, Any]:
        """Identical and near pairs, searched once per cache."""
        path = folder / f"{self.cached.key}.pairs.json"
        if not path.exists():
            part = path.with_suffix(f".part{os.getpid()}")
            part.write_text(json.dumps(splits.find_pairs(self.cached.pixels)))
            part.replace(path)
        pairs: dict[str, Any] = json.loads(path.read_text())
        return pairs

    @property
    def labels(self) -> list[str]:
        return list(self.source.names)

    def _place(self) -> tuple[int, int]:
        """This process's rank and the number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, batches: GlobalBatches, seed: int | None) -> DataLoader[Batch]:
        data = Images(self.cached.pixels, self.source.targets, self.source.known, self.image_size, seed)
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        workers = self.workers
        if workers is None:
            workers = min(8, os.cpu_count() or 1) if on_gpu else 0
        return DataLoader(
            data,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=as_is,  # type: ignore[arg-type]  # the data set gives whole batches
            pin_memory=on_gpu,
            persistent_workers=workers > 0,
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        rank, world = self._place()
        try:
            self.batches = GlobalBatches(self.parts["train"], self.batch_size, seed=self.seed, rank=rank, world=world)
        except ValueError as error:
            raise UserError(f"the training part is too small: {error}", "use fewer processes or more images") from error
        self.batches.start_at(*self.position)
        return self._loader(self.batches, self.seed)

    def part_loader(self, part: str, most: int | None = None) -> DataLoader[Batch]:
        """Test views of a part in its own order, or of ``most`` rows spread evenly over it."""
        rows = self.parts[part]
        if most is not None and most < len(rows):
            rows = rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]
        rank, world = self._place()
        try:
            batches = GlobalBatches(rows, self.batch_size, seed=None, rank=rank, world=world)
        except ValueError as error:
            raise UserError(f"the {part} part is too small: {error}", "use fewer processes or more images") from error
        return self._loader(batches, None)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self.part_loader("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self.part_loader(self.judged)

    def target(self, part: str) -> torch.Tensor:
        """Label sets of a part, uint8 (n, L)."""
        return torch.from_numpy(np.ascontiguousarray(self.source.targets[self.parts[part]]))

    def state_dict(self) -> dict[str, Any]:
        return {"position": list(self.position)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        epoch, batch = state["position"]
        self.position = (epoch, batch)
        if self.batches is not None:
            self.batches.start_at(epoch, batch)

    def label_set_frequency(self) -> torch.Tensor:
        """For every row of the data set, how many training rows carry its label set; int64 (N,)."""
        _, inverse = np.unique(self.source.targets, axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)  # NumPy 2.0 gives it a second dimension
        counts = np.bincount(inverse[self.parts["train"]], minlength=inverse.max() + 1)
        return torch.from_numpy(counts[inverse])
