"""The cost of a training step, in one run: a plain PyTorch loop, BCE and RETDM on the same network and precision.

    python benchmarks/step.py [backbone=mobilenet_v2] [batch=64] [size=224] [steps=6] [rounds=3] [device=cpu]

Prints images a second, ratios, and where a step of RETDM spends its time. The plain loop is torchvision's network with
frozen BatchNorm, channels_last, the same autocast, BCE and SGD, on batches already in memory; ours load from the
image cache and augment. The loops take turns, and the median over rounds is reported.
"""

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
import torchvision
from benchmark_options import options_of
from PIL import Image
from pytorch_lightning import Callback
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

from retdm.backbones.folding import fold_batchnorm
from retdm.batch import Batch, tensors_of
from retdm.data.source import ImageSource
from retdm.losses import two_way_metric
from retdm.methods.deep import DeepMethod
from retdm.runs.build import build_data, build_method
from retdm.runs.process import prepare_process
from retdm.runs.trainer import build_trainer
from retdm.settings.checks import accepted
from retdm.settings.compose import compose_settings
from retdm.settings.run_settings import RunSettings
from retdm.training.evaluation import Evaluation
from retdm.training.stages import Stages

OPTIONS: dict[str, Any] = {
    "backbone": "mobilenet_v2",
    "batch": 64,
    "size": 224,
    "steps": 6,
    "rounds": 3,
    "device": "cpu",
}


class Noise(ImageSource):
    """Random pictures with label sets like Scene's; their content does not matter here."""

    def __init__(self, size: int = 64, side: int = 256) -> None:
        rng = np.random.default_rng(0)
        self.names = ["desert", "mountains", "sea", "sunset", "trees"]
        self.ids = [str(i) for i in range(size)]
        self.pictures = rng.integers(0, 256, (size, side, side, 3), np.uint8)
        self.targets = (rng.random((size, 5)) < 0.25).astype(np.uint8)
        self.known = np.ones((size, 5), bool)
        self.fingerprint = f"noise-{size}-{side}"

    def read(self, i: int) -> Image.Image:
        return Image.fromarray(self.pictures[i])


class Clock(Callback):
    """Times of the ends of training steps."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def settings_for(method: str, folder: str) -> RunSettings:
    batch, steps = OPTIONS["batch"], OPTIONS["steps"]
    images = int((batch * (steps + 1) + 8) / 0.72)  # one epoch of training rows, the first step warms up
    epochs = ["classification", "label_embedding"] if method == "retdm" else []
    settings = compose_settings(
        [
            f"data.image_size={OPTIONS['size']}",
            f"data.batch_size={batch}",
            "data.group_duplicates=none",
            f"backbone={OPTIONS['backbone']}",
            "backbone.weights=none",
            f"method={method}",
            "schedule=short",
            *(f"schedule.{name}.max_epochs=0" for name in epochs),
            f"trainer.accelerator={'gpu' if OPTIONS['device'] == 'cuda' else 'cpu'}",
            f"outputs={folder}",
        ]
    )
    ours = {"_target_": f"{__name__}.Noise", "size": images}
    loading = {key: value for key, value in settings.data.items() if key in accepted("data", Noise)}
    return settings.changed(data=loading | ours)


def frozen(net: nn.Module) -> nn.Module:
    """Put BatchNorm in evaluation mode, as loaded weights would have it."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return net


def freeze(method: DeepMethod) -> None:
    """Freeze the BatchNorm of our backbone, as loaded weights would have it."""
    backbone = method.encoder.backbone
    if backbone.batchnorm == "trained":
        backbone.batchnorm = "frozen"
        fold_batchnorm(backbone.net)
    method.train()


def ours(method_name: str, folder: str) -> float:
    """Images a second of the whole program's training loop."""
    settings = settings_for(method_name, folder)
    data = build_data(settings)
    method = cast(DeepMethod, build_method(settings, data.labels))
    freeze(method)
    clock, stages = Clock(), Stages(method.stages, lambda: data.split_loader("train"))
    trainer = build_trainer(settings, [Evaluation(), stages, clock], 1, None, {})
    trainer.limit_val_batches = 1
    method.use_training_labels(data.training_labels())
    trainer.fit(method, data.train_loader(), data.split_loader("validation"))
    times = np.diff(clock.ends)
    return float(OPTIONS["batch"] / np.median(times))


def plain_network() -> nn.Module:
    net = torchvision.models.get_model(OPTIONS["backbone"], weights=None, num_classes=5)
    net = net.to(OPTIONS["device"], memory_format=torch.channels_last)
    return frozen(net.train())


def autocast(settings: RunSettings) -> contextlib.AbstractContextManager[Any]:
    enabled = settings.trainer["precision"] == "bf16-mixed"
    return torch.autocast(OPTIONS["device"], dtype=torch.bfloat16, enabled=enabled)


def plain_training(settings: RunSettings) -> float:
    """Images a second of the plain loop."""
    net, device, batch = plain_network(), OPTIONS["device"], OPTIONS["batch"]
    image = torch.randn(batch, 3, OPTIONS["size"], OPTIONS["size"], device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    target = (torch.rand(batch, 5, device=device) < 0.25).float()
    optimiser = torch.optim.SGD(net.parameters(), 0.001, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        with autocast(settings):
            logits = net(image)
        F.binary_cross_entropy_with_logits(logits.float(), target).backward()
        optimiser.step()

    return float(batch / seconds(step, OPTIONS["steps"]))


def inference(net: Callable[[torch.Tensor], torch.Tensor], settings: RunSettings) -> float:
    batch, size = OPTIONS["batch"], OPTIONS["size"]
    image = torch.randn(batch, 3, size, size, device=OPTIONS["device"]).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), autocast(settings):
        return float(batch / seconds(lambda: net(image), OPTIONS["steps"]))


def seconds(work: Callable[[], Any], times: int) -> float:
    """Median seconds of one call, after one that warms up."""
    taken = []
    for _ in range(times + 1):
        start = time.perf_counter()
        work()
        if OPTIONS["device"] == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def parts_of_a_step(settings: RunSettings) -> Iterator[tuple[str, float]]:
    """Seconds of the parts of RETDM's step, each on its own."""
    data = build_data(settings)
    method = cast(DeepMethod, build_method(settings, data.labels).to(OPTIONS["device"]))
    freeze(method)
    loader = data.split_loader("train")
    yield "load a batch from the cache (test view)", seconds(lambda: next(iter(loader)), 3)
    batch = next(iter(loader))
    batch = batch._replace(**{name: column.to(OPTIONS["device"]) for name, column in tensors_of(batch).items()})
    yield "normalise", seconds(lambda: method.normalised(batch.image), 3)
    batch = batch._replace(image=method.normalised(batch.image))
    yield "image net, forward", seconds(lambda: method.encoder(batch), 3)
    yield "image net, forward and backward", seconds(lambda: method.encoder(batch).sum().backward(), 3)
    f = torch.randn(len(batch.image), 512, device=OPTIONS["device"], requires_grad=True)
    label_net: nn.Module = method.components["label_net"]

    def metric() -> None:
        two_way_metric(f, label_net(batch.target), batch.target, k=10).backward()

    yield "label net and two-way metric, forward and backward", seconds(metric, 5)
    optimiser = method.configure_optimizers()
    yield "optimiser", seconds(optimiser.step, 3)


def main() -> None:
    OPTIONS.update(options_of(OPTIONS))
    out = Console(width=110, highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_for("retdm", folder)
        as_written = plain_training(settings)
        prepare_process()
        found: dict[str, list[float]] = {"plain": [], "bce": [], "retdm": []}
        for _ in range(OPTIONS["rounds"]):
            found["plain"].append(plain_training(settings))
            found["bce"].append(ours("bce", folder))
            found["retdm"].append(ours("retdm", folder))
        speed = {name: statistics.median(values) for name, values in found.items()}
        ours_net = cast(DeepMethod, build_method(settings, Noise(1).names).to(OPTIONS["device"]).eval())
        plain_speed = inference(plain_network().eval(), settings)
        our_speed = inference(lambda x: ours_net.embed_and_classify(Batch(x, x, x, x))[1], settings)
        table = Table(box=None, title=", ".join(f"{k}={v}" for k, v in OPTIONS.items()), title_justify="left")
        table.add_column("")
        for title in ("images/s", "÷ plain loop"):
            table.add_column(title, justify="right")
        table.add_row("training: plain loop, memory returned to the system", f"{as_written:.1f}", "")
        table.add_row("training: plain loop, freed memory kept", f"{speed['plain']:.1f}", "1.00")
        for name in ("bce", "retdm"):
            table.add_row(f"training: {name}", f"{speed[name]:.1f}", f"{speed[name] / speed['plain']:.2f}")
        table.add_row("inference: plain network", f"{plain_speed:.1f}", "1.00")
        table.add_row("inference: ours", f"{our_speed:.1f}", f"{our_speed / plain_speed:.2f}")
        out.print(table)
        out.print(f"RETDM's step ÷ BCE's: {speed['bce'] / speed['retdm']:.3f}")
        threads = torch.get_num_threads()
        out.print(f"precision {settings.trainer['precision']}, {threads} threads, torch {torch.__version__}")
        for part, taken in parts_of_a_step(settings):
            out.print(f"  {part:<52} {taken * 1000:9.1f} ms")


if __name__ == "__main__":
    main()
