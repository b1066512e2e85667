"""The cost of loading, in one run: batches from the image cache against files read by a usual pipeline.

    python benchmarks/loading.py [images=512] [side=500] [size=224] [batch=64] [rounds=3]

The images are drawn scenes as JPEG of quality 90, ``side`` pixels wide. The pipeline that a user would write is
torchvision's: Pillow opens, RandomResizedCrop, flip, tensor, normalised. Ours gives the paper's crops as uint8, which
the network's device normalises; other choices of ``augment`` stand beside them. Loaders take turns; the median over
rounds is printed, then the share of a training step that waits for data, and what the cache of COCO's 123,287 images
would take.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_options import options_of
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2 as transforms

from retdm.backbones.mobilenet import MobileNetV2
from retdm.data.augment import CROPS, Augmentation, Light, Strong
from retdm.data.image_cache import CachedImages, open_images
from retdm.data.images import cached_side
from retdm.data.loader import TrainingImages, handed_over
from retdm.data.sampling import GlobalBatches
from retdm.data.source import ImageFiles, fingerprint_of
from retdm.data.synthetic.source import Synthetic
from retdm.runs.process import keep_freed_memory

OPTIONS = {"images": 512, "side": 500, "size": 224, "batch": 64, "rounds": 3}
COCO = 123_287


class Photographs(ImageFiles):
    """JPEG files of drawn scenes, as a source."""

    def __init__(self, folder: Path, n: int, side: int) -> None:
        drawn = Synthetic(n, side=side // 2)
        self.folder, self.names, self.targets, self.known = folder, drawn.names, drawn.targets, drawn.known
        self.ids = [f"{i}.jpg" for i in range(n)]
        for i, name in enumerate(self.ids):
            drawn.read(i).resize((side, side * 3 // 4), Image.Resampling.BICUBIC).save(folder / name, quality=90)
        self.fingerprint = fingerprint_of("photographs", folder, self.ids)


class Plain(Dataset[Any]):
    """The usual pipeline of torchvision."""

    def __init__(self, source: Photographs, size: int) -> None:
        self.source = source
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(size, scale=(0.5, 1.0), antialias=True),
                transforms.RandomHorizontalFlip(),
                transforms.ToImage(),
                transforms.ToDtype(torch.float32, scale=True),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> Any:
        with Image.open(self.source.folder / self.source.ids[i]) as image:
            return self.transform(image.convert("RGB")), torch.from_numpy(self.source.targets[i])


def rate(loader: Iterable[Any], images: int) -> float:
    start = time.perf_counter()
    for _ in loader:
        pass
    return images / (time.perf_counter() - start)


def waiting(loader: Iterable[Any], size: int) -> tuple[float, float]:
    """Seconds a batch of (waiting for the loader, the step of mobilenet_v2)."""
    net = MobileNetV2(weights="none", batchnorm="frozen").to(memory_format=torch.channels_last)  # the fastest step
    head = torch.nn.Linear(net.dim, 5)
    rule = torch.optim.SGD([*net.parameters(), *head.parameters()], lr=0.01)
    waits, steps, mark = [], [], time.perf_counter()
    for number, batch in enumerate(loader):
        waits.append(time.perf_counter() - mark)
        start = time.perf_counter()
        image = (batch.image.float() / 255).contiguous(memory_format=torch.channels_last)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(net.embedding(image)), batch.target)
        rule.zero_grad()
        loss.backward()
        rule.step()
        mark = time.perf_counter()
        steps.append(mark - start)
        if number == 3:
            break
    return statistics.median(waits[1:]), statistics.median(steps[1:])


def main() -> None:
    keep_freed_memory()  # as a run does
    options = options_of(OPTIONS)
    n, size, batch = options["images"], options["size"], options["batch"]
    side = cached_side(size)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "files")
        files.mkdir()
        source = Photographs(files, n, options["side"])
        start = time.perf_counter()
        plain, _ = open_images(source, side, Path(folder, "cache"))
        built = time.perf_counter() - start
        start = time.perf_counter()
        jpeg, _ = open_images(source, side, Path(folder, "cache"), limit=0)
        built_jpeg = time.perf_counter() - start
        direct, _ = open_images(source, side, None)

        def ours(images: Any, workers: int, how: Augmentation = CROPS) -> DataLoader[Any]:
            rows = np.arange(n)
            data = TrainingImages(images, source.targets, source.known, size, augmentation=how, seed=0, rows=rows)
            batches = GlobalBatches(rows, batch, seed=0)
            return DataLoader(data, batch_sampler=batches, num_workers=workers, collate_fn=handed_over)

        kinds: dict[str, Callable[[int], Iterable[Any]]] = {
            "plain torchvision pipeline": lambda w: DataLoader(Plain(source, size), batch, shuffle=True, num_workers=w),
            "ours, no cache": lambda w: ours(direct, w),
            "ours, JPEG cache": lambda w: ours(jpeg, w),
            "ours, pixel cache": lambda w: ours(plain, w),
            "ours, pixel cache, augment=light": lambda w: ours(plain, w, Light()),
            "ours, pixel cache, augment=strong": lambda w: ours(plain, w, Strong()),
            "ours, pixel cache, augment=light, mixup": lambda w: ours(plain, w, Light(mixup=0.2)),
            "ours, pixel cache, augment=light, cutmix": lambda w: ours(plain, w, Light(cutmix=1.0)),
        }
        rates: dict[tuple[str, int], list[float]] = {}
        for _ in range(options["rounds"]):
            for workers in (0, 2):
                for name, loader in kinds.items():
                    rates.setdefault((name, workers), []).append(rate(loader(workers), n))
        table = Table(*("", "workers", "images/s", "÷ plain"), box=None, pad_edge=False)
        for (name, workers), found in rates.items():
            base = statistics.median(rates["plain torchvision pipeline", workers])
            value = statistics.median(found)
            table.add_row(name, str(workers), f"{value:.0f}", f"{value / base:.1f}")
        screen = Console(width=100, highlight=False)
        screen.print(" ".join(f"{key}={value}" for key, value in options.items()), f"threads={torch.get_num_threads()}")
        screen.print(table)
        wait, step = waiting(ours(plain, 0), size)
        screen.print(
            f"a step of mobilenet_v2: {step:.2f} s, waiting for data {wait:.3f} s = {wait / (wait + step):.1%}"
        )
        for name, images, seconds in (("pixels", plain, built), ("JPEG", jpeg, built_jpeg)):
            assert isinstance(images, CachedImages)
            bytes_each = images.blocks.file.stat().st_size / n
            screen.print(
                f"cache of {name}: {bytes_each / 1e3:.0f} kB an image, {n / seconds:.0f} images/s to build; "
                f"{COCO:,} images: {COCO * bytes_each / 1e9:.1f} GB, {COCO * seconds / n / 60:.0f} minutes"
            )


if __name__ == "__main__":
    main()
