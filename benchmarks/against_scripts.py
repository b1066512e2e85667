"""What the program makes of a set of images, beside what a user would write: test criteria and processor seconds.

    python benchmarks/against_scripts.py [set=synthetic] [size=0] [passes=10] [seeds=0,1,2] [splits=0]
        [ways=probe,adamw,fastai,bce,retdm,control] [backbone=mobilenet_v2] [weights=imagenet] [image_size=128]
        [root=] [words=] [folder=outputs/against_scripts]

All ways see the same rows, the same cached images and the same passes over the training images:

- probe: a logistic regression of the frozen network's features, its strength by cross-validation;
- adamw: the script in this file, as many write it: trained BatchNorm, random crops and flips, AdamW 2e-4 (the head
  1e-3), a cosine with warm-up, batches of 32;
- fastai: ``vision_learner(…).fine_tune``, where fastai is installed and torchvision's network has ``features``;
- bce, retdm: ``method=<way> schedule=fine_tune``;
- control: retdm with the same layers, and weight 0 of metric and reconstruction.

``set`` is a name of conf/data, ``csv`` with ``root=<folder>``; real sets are read from ``RETDM_DATA``. ``size`` is the
number of training images (of all images, where they are drawn), 0 takes all. ``words`` are further ones for the last
three ways, with spaces between. Each run is a line of ``<folder>/results.jsonl``; what is there is not run again.
``<folder>/comparison.png`` shows the means of all sets that are there.
"""

import json
import logging
import os
import resource
import shutil
import statistics
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from benchmark_options import options_of
from benchmark_results import kept, spread
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from retdm.backbones import Backbone
from retdm.criteria import evaluate
from retdm.data.modules import ImageData
from retdm.decisions import best_threshold, decide
from retdm.methods.components.linear_probe import fit_probe
from retdm.report.figures.style import COLOURS, MARKERS, blank_figure, quiet
from retdm.runs.build import build_backbone, build_data
from retdm.runs.process import prepare_process
from retdm.runs.train import train_run
from retdm.settings.compose import compose_settings
from retdm.settings.run_settings import RunSettings

OPTIONS: dict[str, Any] = {
    "set": "synthetic",
    "size": 0,
    "passes": 10,
    "seeds": "0,1,2",
    "splits": "0",
    "ways": "probe,adamw,fastai,bce,retdm,control",
    "backbone": "mobilenet_v2",
    "weights": "imagenet",
    "image_size": 128,
    "root": "",
    "words": "",
    "folder": "outputs/against_scripts",
}
# Its label net has nothing to learn, neither before the joint stage nor in it.
CONTROL = ["method.weights.metric=0", "method.weights.reconstruction=0", "schedule.label_embedding.max_epochs=0"]
OURS: dict[str, tuple[str, str, list[str]]] = {  # way -> method, the stage that makes the passes, further words
    "bce": ("bce", "end_to_end", []),
    "retdm": ("retdm", "joint", []),
    "control": ("retdm", "joint", CONTROL),
}
EXTRA = {"coco": ["data.year=2017"]}
BATCH, RATE, HEAD, DECAY = 32, 2e-4, 5.0, 0.01  # of the script; HEAD is the factor of the new layer's rate
CRITERIA = ("mAP", "O-F1", "O-F1 at validation threshold")
WAYS = {
    "probe": "logistic regression",
    "adamw": "AdamW script",
    "fastai": "fastai",
    "bce": "retdm, BCE",
    "control": "control",
    "retdm": "retdm, RETDM",
}
Scores = Callable[[str], NDArray[np.floating[Any]]]  # of a split, (n, L)


def words_for(options: dict[str, Any], split: int, cache: Path, more: list[str]) -> list[str]:
    """What follows ``train.py`` in all ways."""
    name, size, root = options["set"], options["size"], options["root"]
    size_key = "data.size" if name == "synthetic" else "data.train_size"
    return [
        f"data={name}",
        *([f"{size_key}={size}"] if size else []),
        *([f"data.root={root}"] if root else []),
        *EXTRA.get(name, []),
        "data.on_unreadable=skip",
        f"data.split={split}",
        f"data.image_size={options['image_size']}",
        f"data.cache={cache}",
        f"backbone={options['backbone']}",
        f"backbone.weights={options['weights']}",
        "schedule=fine_tune",
        "trainer.accelerator=cpu",
        "logger=none",
        *more,
    ]


def cpu_seconds() -> float:
    """Of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def evaluated(data: ImageData, scores: Scores) -> dict[str, float | None]:
    """The criteria of the test split, decided at one half and at the threshold that is best on validation."""
    rows = {split: data.splits[split] for split in ("validation", "test")}
    found = {split: (scores(split), data.source.targets[i], data.source.known[i]) for split, i in rows.items()}
    decided = [decide(found["test"][0], rule, best_threshold(*found["validation"])) for rule in ("half", "validation")]
    half, validation = (evaluate(*found["test"], data.labels, each)["criteria"] for each in decided)
    return dict(zip(CRITERIA, (half["mAP"], half["O-F1"], validation["O-F1"]), strict=True))


def preparation(backbone: Backbone) -> v2.Compose:
    """From pixels of a batch, uint8 (B, 3, H, W), to what the network takes."""
    mean, std = backbone.transform.mean, backbone.transform.std
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])


def trainable(settings: RunSettings) -> Backbone:
    """The backbone, whose BatchNorm follows the batches where it has one."""
    batchnorm = {"batchnorm": "trained"} if "batchnorm" in settings.backbone else {}
    return build_backbone(settings.changed(backbone=settings.backbone | batchnorm), load=True)


@torch.inference_mode()
def outputs(net: nn.Module, data: ImageData, split: str, prepare: v2.Compose) -> Tensor:
    """What a network gives for the test views of a split."""
    net.eval()
    return torch.cat([net(prepare(batch.image)) for batch in data.split_loader(split)])


def probe(data: ImageData, settings: RunSettings, seed: int, passes: int) -> Scores:
    """One pass over the images and a logistic regression, whatever ``passes`` says."""
    backbone = build_backbone(settings, load=True).to(memory_format=torch.channels_last)
    prepare = preparation(backbone)
    rows = data.splits["train"]
    target, known = torch.from_numpy(data.source.targets[rows]), torch.from_numpy(data.source.known[rows])
    found = fit_probe(outputs(backbone, data, "train", prepare).clone(), target, known, seed=seed)

    def scores(split: str) -> NDArray[np.floating[Any]]:
        features = (outputs(backbone, data, split, prepare) - found.mean) / found.deviation
        return (features @ found.weight.T + found.bias).sigmoid().numpy()

    return scores


class Rows(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The training images, cropped at random and flipped."""

    def __init__(self, data: ImageData, prepare: v2.Compose) -> None:
        self.data, self.prepare, self.rows = data, prepare, data.splits["train"]
        size = data.image_size
        self.views = v2.Compose([v2.RandomResizedCrop(size, (0.35, 1.0)), v2.RandomHorizontalFlip()])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        row, source = int(self.rows[i]), self.data.source
        pixels = torch.from_numpy(np.array(self.data.images[row])).permute(2, 0, 1)
        target, known = torch.from_numpy(source.targets[row]).float(), torch.from_numpy(source.known[row]).float()
        return self.prepare(self.views(pixels)), target, known


def adamw(data: ImageData, settings: RunSettings, seed: int, passes: int) -> Scores:
    """The script that a user would write: AdamW on all layers, a short warm-up, then down along a cosine."""
    torch.manual_seed(seed)
    backbone = trainable(settings)
    prepare = preparation(backbone)
    head = nn.Linear(backbone.dim, len(data.labels))
    net = nn.Sequential(backbone, head).to(memory_format=torch.channels_last)
    loader = DataLoader(Rows(data, prepare), batch_size=BATCH, shuffle=True)
    groups: list[dict[str, Any]] = []
    for part, lr in ((backbone, RATE), (head, RATE * HEAD)):
        for decay in (DECAY, 0.0):  # neither biases nor norms decay
            params = [p for p in part.parameters() if (p.ndim > 1) == (decay > 0)]
            groups.append({"params": params, "lr": lr, "weight_decay": decay})
    optimizer = torch.optim.AdamW(groups)
    steps = passes * len(loader)

    def rate(step: int) -> float:
        warmed = min(1.0, (step + 1) / max(1.0, 0.1 * steps))
        return float(warmed * (1 + np.cos(np.pi * step / steps)) / 2)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    for _ in range(passes):
        net.train()
        for image, target, known in loader:
            losses = F.binary_cross_entropy_with_logits(net(image), target, reduction="none")
            optimizer.zero_grad()
            ((losses * known).sum() / known.sum().clamp(min=1)).backward()
            optimizer.step()
            schedule.step()
    return lambda split: outputs(net, data, split, prepare).sigmoid().numpy()


def fastai(data: ImageData, settings: RunSettings, seed: int, passes: int) -> Scores:
    """fastai's recipe as it comes: one pass of the head, then all layers. It takes unknown cells for absent labels."""
    from fastai.vision import all as fast
    from fastai.vision import learner as networks

    fast.set_seed(seed)
    backbone = trainable(settings)

    def body(**_: Any) -> nn.Module:
        return nn.Sequential(cast(nn.Module, backbone.net.features), nn.Identity())  # the last module is cut off

    networks.model_meta[body] = {"cut": -1, "split": networks.default_split}
    train, validation = data.splits["train"], data.splits["validation"]
    rows = [*map(int, train), *map(int, validation)]
    block = fast.DataBlock(
        (fast.ImageBlock, fast.MultiCategoryBlock(encoded=True, vocab=data.labels)),
        get_x=lambda i: np.array(data.images[rows[i]]),
        get_y=lambda i: data.source.targets[rows[i]].astype(float),
        splitter=fast.IndexSplitter(range(len(train), len(rows))),
        batch_tfms=[*fast.aug_transforms(size=data.image_size), fast.Normalize.from_stats(*fast.imagenet_stats)],
    )
    loaders = block.dataloaders(list(range(len(rows))), bs=min(BATCH, len(train)), num_workers=0)
    learner = fast.vision_learner(loaders, body, pretrained=False, n_out=len(data.labels), normalize=False)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(passes - 1)
    return lambda split: outputs(learner.model, data, split, preparation(backbone)).sigmoid().numpy()


SCRIPTS = {"probe": probe, "adamw": adamw, "fastai": fastai}


def by_us(way: str, options: dict[str, Any], seed: int, split: int, cache: Path) -> dict[str, Any]:
    method, stage, words = OURS[way]
    passes = [f"schedule.{stage}.max_epochs={options['passes']}", f"schedule.{stage}.min_steps=0"]
    more = [f"method={method}", *passes, *words, *options["words"].split()]
    # The images are taken from the cache; features of an earlier run are not, for they cost seconds.
    with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
        shutil.copytree(cache, Path(folder, "cache"), copy_function=os.link)
        words = [*words_for(options, split, Path(folder, "cache"), more), f"seed={seed}", f"run={folder}/run"]
        report = train_run(compose_settings(words)).report
    assert report is not None, "the run's folder is new"
    test, at_threshold = report["test"], report["test_validation_threshold"]
    return dict(zip(CRITERIA, (test["mAP"], test["O-F1"], at_threshold["O-F1"]), strict=True))


def main() -> None:
    options = options_of(OPTIONS)
    out = Console(width=120, highlight=False)
    prepare_process()
    folder = Path(options["folder"])
    cache, results = (folder / "cache").absolute(), folder / "results.jsonl"
    cache.mkdir(parents=True, exist_ok=True)
    ways, seeds, splits = (options[key].split(",") for key in ("ways", "seeds", "splits"))
    asked = {key: value for key, value in options.items() if key not in ("ways", "seeds", "splits", "folder")}
    done = kept(results)
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for split, seed, way in product(map(int, splits), map(int, seeds), ways):
        ours = way in OURS
        run = {**asked, "words": asked["words"] if ours else "", "way": way, "seed": seed, "split": split}
        line = next((each for each in done if run.items() <= each.items()), None)
        if line is None and (way != "fastai" or find_spec("fastai")):
            logging.getLogger("retdm").setLevel(logging.ERROR)  # our own runs will say it again
            settings = compose_settings(words_for(options, split, cache, ["method=bce", f"seed={seed}"]))
            data = cast(ImageData, build_data(settings))  # the cache is written before the clock starts
            begun = cpu_seconds()
            if ours:
                criteria = by_us(way, options, seed, split, cache)
            else:
                criteria = evaluated(data, SCRIPTS[way](data, settings, seed, options["passes"]))
            sizes = {part: len(rows) for part, rows in data.splits.items()}
            line = run | criteria | {"cpu": round(cpu_seconds() - begun, 1), "images": sizes}
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")
        if line is not None:
            found[way].append(line)
    show(out, options, found)
    if lines := kept(results):
        figure(lines).savefig(folder / "comparison.png", dpi=100)


def show(out: Console, options: dict[str, Any], found: dict[str, list[dict[str, Any]]]) -> None:
    """The table, a line a way: means over the runs, with their deviation."""
    images: dict[str, int] = next((lines[0]["images"] for lines in found.values() if lines), {})
    counts, shown = ", ".join(f"{part} {count:,}" for part, count in images.items()), options["backbone"]
    out.print(f"{options['set']} ({counts}), {options['passes']} passes, {shown} at {options['image_size']}²")
    out.print(f"{'':<10}{'mAP':>16}{'O-F1 at ½':>16}{'O-F1 at val.':>16}{'CPU seconds':>14}{'runs':>6}")
    for way, lines in found.items():
        if not lines:
            out.print(f"{way:<10}  not installed")
            continue
        values = [[line[key] for line in lines if line[key] is not None] for key in CRITERIA]
        cells = "".join(f"{spread(each) if each else '–':>16}" for each in values)
        seconds = statistics.mean(line["cpu"] for line in lines)
        out.print(f"{way:<10}{cells}{seconds:>14.1f}{len(lines):>6}")


def figure(lines: list[dict[str, Any]]) -> Figure:
    """A row a set and number of passes, a mark a way: mAP on the left, O-F1 at one half on the right."""
    rows = list(dict.fromkeys((line["set"], line["size"], line["passes"]) for line in lines))
    drawn = blank_figure(1.3 + 0.5 * len(rows), "The same rows, the same passes: means on the test split")
    axes = drawn.subplots(1, 2, sharey=True)
    for each, criterion in zip(axes, CRITERIA, strict=False):
        for number, ((way, says), colour, marker) in enumerate(zip(WAYS.items(), COLOURS, MARKERS, strict=False)):
            places: list[tuple[float, float]] = []
            for place, row in enumerate(rows):
                of_row = [line for line in lines if (line["set"], line["size"], line["passes"]) == row]
                values = [line[criterion] for line in of_row if line["way"] == way and line[criterion] is not None]
                if values:
                    places.append((statistics.mean(values), place + 0.11 * (number - (len(WAYS) - 1) / 2)))
            if places:
                each.plot(*zip(*places, strict=True), color=colour, marker=marker, linestyle="", label=says, alpha=0.85)
        each.set_xlabel(f"{criterion} ↑", size=9.5)
        quiet(each)
    titles = [f"{name}{f', {size:,}' if size else ''}\n{passes} passes" for name, size, passes in rows]
    axes[0].set_yticks(range(len(rows)), titles)
    axes[0].invert_yaxis()
    handles, names = axes[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside lower center", ncols=len(WAYS), frameon=False, fontsize=8.5)
    return drawn


if __name__ == "__main__":
    main()
