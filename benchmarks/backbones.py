"""What works with networks of timm, and what an image costs them.

    python benchmarks/backbones.py [names=test_vit,resnet10t] [size=0]
    python benchmarks/backbones.py sizes=224,518 names=vit_small_patch14_dinov2 [images=4] [repeat=2]

Without ``sizes``: each network, with random weights, in runs of one epoch on forty drawn images. Printed is a line a
network: trained end to end with the head ``average``; frozen, its features computed once, with ``csra``; trained with
``ml_decoder``; heat maps of which of these; both exported files, compared with the run. ``size`` is the images' side,
0 that of each family below.

With ``sizes``: CPU seconds of one thread and megabytes of memory for the embedding of an image, and for a training
step, at each side. Memory is how far the process grows over what it held with the network built, divided by ``images``;
of each case in a process of its own.
"""

import contextlib
import io
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmark_options import options_of
from rich.console import Console
from rich.table import Table

from retdm.api.run import Run
from retdm.api.train import train
from retdm.backbones.timm_nets import Timm
from retdm.commands.export import export
from retdm.errors import UserError
from retdm.runs.folder.paths import RunFolder

FAMILIES = {  # a small network of each, at a size that suits it
    "resnet10t": 64,
    "efficientnet_lite0": 64,
    "mobilenetv4_conv_small": 64,
    "convnext_atto": 64,
    "convnextv2_atto": 64,
    "vit_tiny_patch16_224": 64,
    "vit_small_patch14_reg4_dinov2": 56,
    "vit_small_patch16_dinov3": 64,
    "test_vit3": 64,
    "vit_xsmall_patch16_clip_224": 64,
    "eva02_tiny_patch14_224": 56,
    "deit_tiny_distilled_patch16_224": 64,
    "swin_tiny_patch4_window7_224": 64,
    "test_maxvit": 64,
}
TRIED = {  # a run each
    "average, trained": ["method.head=average"],
    "csra, frozen": ["method.head=csra", "precompute=true"],
    "ml_decoder, trained": ["method.head=ml_decoder"],
}
OPTIONS = {"names": ",".join(FAMILIES), "size": 0, "sizes": "", "images": 4, "repeat": 2}


def tried(name: str, size: int, folder: str) -> list[str]:
    """One line of the table: what worked, or the first words of what did not."""
    runs = {title: _attempted(partial(_run, name, size, folder, words)) for title, words in TRIED.items()}
    cells = [run if isinstance(run, str) else "yes" for run in runs.values()]
    drawn = [title.partition(",")[0] for title, run in runs.items() if _attempted(partial(_maps, run)) is True]
    exported = _attempted(partial(_exported, next(iter(runs.values()))))
    return [*cells, ", ".join(drawn) or "none", exported]


def _run(name: str, size: int, folder: str, words: list[str]) -> Run:
    return train(
        [
            "data=synthetic",
            "data.size=40",
            f"data.image_size={size}",
            "backbone=timm",
            f"backbone.name={name}",
            "backbone.weights=none",
            "method=bce",
            "schedule=short",
            "trainer.accelerator=cpu",
            "logger=none",
            f"outputs={folder}",
            *words,
        ]
    )


def _maps(run: Any) -> bool:
    """The run draws heat maps, and they cover the image."""
    if isinstance(run, str) or not run.model.method.scores_instances:
        return False
    size = run.model.image_size
    _, maps = run.model.scores_and_maps(torch.zeros(1, 3, size, size, dtype=torch.uint8))
    return bool(maps.ndim == 4)


def _exported(run: Any) -> str:
    if isinstance(run, str):
        return "not tried"
    with tempfile.TemporaryDirectory() as out:
        differences = export(RunFolder(run.folder), Path(out)).differences
    return f"to {max(differences.values()):.0e}"


def _attempted(call: Callable[[], Any]) -> Any:
    """What a call returns, or the first words of its error; what it prints is not shown."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            return call()
        except UserError as error:
            return f"no: {error.message[:60]}"
        except Exception as error:
            return f"no: {type(error).__name__} {str(error)[:60]}"


def cost(name: str, size: int, images: int, repeat: int, training: bool) -> tuple[float, float]:
    """CPU seconds and megabytes an image, in this process, which does nothing else."""
    torch.set_num_threads(1)
    backbone = Timm(name, weights="none", image_size=size).train(training)
    batch = torch.randn(images, 3, size, size)
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(repeat):
        started = time.process_time()
        with torch.set_grad_enabled(training):
            embedding = backbone.embedding(batch)
            if training:
                embedding.square().mean().backward()
                backbone.zero_grad()
        seconds.append(time.process_time() - started)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return min(seconds) / images, grown / 1024 / images


def main() -> None:
    options = options_of(OPTIONS)
    names, out = options["names"].split(","), Console(width=160, highlight=False)
    if options["sizes"]:
        table = Table("network", "side", "work", "CPU s an image", "MB an image", box=None)
        for name in names:
            for size in map(int, options["sizes"].split(",")):
                for work in ("embedding", "training"):
                    given = (name, size, options["images"], options["repeat"], work == "training")
                    with multiprocessing.get_context("spawn").Pool(1) as pool:
                        seconds, megabytes = pool.apply(cost, given)
                    table.add_row(name, str(size), work, f"{seconds:.3f}", f"{megabytes:.0f}")
    else:
        table = Table("network", "side", *TRIED, "heat maps", "export", box=None)
        for name in names:
            size = options["size"] or FAMILIES.get(name, 224)
            with tempfile.TemporaryDirectory() as folder:
                table.add_row(name, str(size), *tried(name, size, folder))
    out.print(table)


if __name__ == "__main__":
    main()
