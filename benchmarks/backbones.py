"""What works with networks of timm, and what an image costs them.

    python benchmarks/backbones.py [names=test_vit,resnet10t] [size=0]
    python benchmarks/backbones.py sizes=224,518 names=vit_small_patch14_dinov2 [images=4] [repeat=2]

Without ``sizes``: each network, with random weights, under BCE. Printed is a line a network: a training step end to end
with the head ``average``, after which no trained weight of the network is without a finite gradient; a step on features
of the frozen network with ``csra``; a step with ``ml_decoder``; heat maps of which of these; both exported files, whose
scores are compared with the network's. ``size`` is the images' side, 0 that of each family below.

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
from typing import Any, cast

import torch
from benchmark_options import options_of

from retdm.backbones.timm_nets import Timm
from retdm.batch import Batch, FeatureBatch
from retdm.commands.export import export
from retdm.errors import UserError
from retdm.methods.deep import DeepMethod
from retdm.runs.build import build_method, describe
from retdm.runs.folder.paths import RunFolder
from retdm.settings.compose import compose_settings
from retdm.settings.run_settings import RunSettings
from retdm.training.regions import region_maps

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
TRIED = {
    "average, trained": ["method.head=average"],
    "csra, frozen": ["method.head=csra", "precompute=true"],
    "ml_decoder, trained": ["method.head=ml_decoder"],
}
LABELS = ["a", "b", "c"]
OPTIONS = {"names": ",".join(FAMILIES), "size": 0, "sizes": "", "images": 4, "repeat": 2}


def tried(name: str, size: int) -> list[str]:
    """One line of the table: what worked, or the first words of what did not."""
    cells, drawn = [], []
    for title, words in TRIED.items():
        cells.append(_attempted(partial(_stepped, name, size, words)))
        if _attempted(partial(_drawn, name, size, words)) is True:
            drawn.append(title.partition(",")[0])
    return [*cells, ", ".join(drawn) or "none", _attempted(partial(_exported, name, size))]


def _settings(name: str, size: int, words: list[str]) -> RunSettings:
    network = ["backbone=timm", f"backbone.name={name}", "backbone.weights=none"]
    other = ["data=synthetic", f"data.image_size={size}", "method=bce", "trainer.accelerator=cpu"]
    return compose_settings([*other, *network, "trainer.precision=32-true", *words])


def _built(name: str, size: int, words: list[str]) -> tuple[DeepMethod, Any]:
    """A method, and a batch of random images for it, or of their features where its network is frozen."""
    method = cast(DeepMethod, build_method(_settings(name, size, words), LABELS))
    images = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)
    target = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    batch = method.prepared(Batch(torch.arange(4), images, target, torch.ones(4, 3, dtype=torch.bool)))
    if method.encoder.backbone.frozen:
        with torch.no_grad():
            features = method.encoder.extract(batch.image)
        return method, FeatureBatch(batch.index, features, batch.target, batch.known)
    return method, batch


def _stepped(name: str, size: int, words: list[str]) -> str:
    method, batch = _built(name, size, words)
    sum(method.losses(batch).values()).backward()  # type: ignore[union-attr]
    trained = [(key, parameter.grad) for key, parameter in method.named_parameters() if parameter.requires_grad]
    without = [key for key, grad in trained if grad is None or not grad.isfinite().all()]
    return f"no gradient: {without[0]} and {len(without) - 1} more" if without else "yes"


def _drawn(name: str, size: int, words: list[str]) -> bool:
    """The method scores the places of an image."""
    method, batch = _built(name, size, words)
    return method.scores_instances and region_maps(method.eval(), batch).ndim == 4


def _exported(name: str, size: int) -> str:
    settings = _settings(name, size, TRIED["average, trained"])
    method = build_method(settings, LABELS)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(folder)
        run.checkpoints.mkdir()
        torch.save({"state_dict": method.state_dict(), "retdm": describe(settings, method, None, None)}, run.best)
        differences = export(run, Path(folder, "export")).differences
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
    names = options["names"].split(",")
    if options["sizes"]:
        _line("network", "side", "work", "CPU s an image", "MB an image")
        for name in names:
            for size in map(int, options["sizes"].split(",")):
                for work in ("embedding", "training"):
                    given = (name, size, options["images"], options["repeat"], work == "training")
                    with multiprocessing.get_context("spawn").Pool(1) as pool:
                        seconds, megabytes = pool.apply(cost, given)
                    _line(name, str(size), work, f"{seconds:.3f}", f"{megabytes:.0f}")
        return
    _line("network", "side", *TRIED, "heat maps", "export")
    for name in names:
        size = options["size"] or FAMILIES.get(name, 224)
        _line(name, str(size), *tried(name, size))


def _line(name: str, *cells: str) -> None:
    """One line, as soon as it is known."""
    print(f"{name:<33}{cells[0]:<6}" + "".join(f"{cell:<21}" for cell in cells[1:]), flush=True)


if __name__ == "__main__":
    main()
