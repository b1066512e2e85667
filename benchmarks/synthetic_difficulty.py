"""The difficulty of the drawn landscapes: mean average precision of two linear baselines and of a small network.

    python benchmarks/synthetic_difficulty.py             # the baselines, about a minute
    python benchmarks/synthetic_difficulty.py --network   # and the network, about three minutes in all

On a machine with other work set OMP_NUM_THREADS=1: threads that wait for a busy core cost more than they gain.

The data are useful only as long as a network, which sees shape and texture, is clearly ahead of both baselines.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from retdm.data.synthetic.source import Synthetic

Bytes = NDArray[np.uint8]
Floats = NDArray[np.floating]


def load(size: int, seed: int, side: int) -> tuple[Bytes, Bytes]:
    """Images (n, S, S, 3) and targets (n, L)."""
    source = Synthetic(size, seed, side)
    return np.stack([np.asarray(source.read(i)) for i in range(size)]), source.targets


def histograms(images: Bytes, bins: int = 8) -> Floats:
    """Square roots of the shares of an image's pixels in bins x bins x bins cells of colour: (n, bins^3)."""
    cells = (images // (256 // bins)).astype(np.int64) @ np.array([bins * bins, bins, 1])
    return np.sqrt([np.bincount(c.ravel(), minlength=bins**3) / c.size for c in cells])


def linear(train: Floats, test: Floats, target: Bytes, penalty: float) -> Floats:
    """Scores (n, L): one logistic regression a label on standardised features; ``penalty`` is 1 / C."""
    columns = []
    for wanted in target.T:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / penalty, max_iter=200, tol=1e-3))
        columns.append(model.fit(train, wanted).decision_function(test))
    return np.stack(columns, axis=1)


def precision(target: Bytes, scores: Floats) -> Floats:
    """Average precision of each label (L,)."""
    return np.array([average_precision_score(target[:, k], scores[:, k]) for k in range(target.shape[1])])


def small_vgg(labels: int, widths: tuple[int, ...] = (32, 64, 128, 256), depth: int = 1) -> nn.Sequential:
    """3x3 convolutions with GroupNorm, halved after each width; mean and maximum of the last map; one linear layer."""
    layers: list[nn.Module] = []
    before = 3
    for width in widths:
        for _ in range(depth):
            layers += [
                nn.Conv2d(before, width, 3, padding=1, bias=False),
                nn.GroupNorm(8, width),
                nn.ReLU(inplace=True),
            ]
            before = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, MeanAndMax(), nn.Linear(2 * before, labels))


class MeanAndMax(nn.Module):
    """(B, C, h, w) -> (B, 2C)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)


def views(images: Tensor) -> Tensor:
    """Random crops of two thirds to all of the side, half of them flipped, at the full size: (B, 3, S, S)."""
    n = len(images)
    scale = torch.empty(n).uniform_(2 / 3, 1)
    shift = (1 - scale)[:, None] * torch.empty(n, 2).uniform_(-1, 1)
    window = torch.zeros(n, 2, 3)
    window[:, 0, 0] = scale * (torch.randint(2, (n,)) * 2 - 1)
    window[:, 1, 1] = scale
    window[:, :, 2] = shift
    return F.grid_sample(images, F.affine_grid(window, list(images.shape), align_corners=False), align_corners=False)


def network(train: Bytes, target: Bytes, test: Bytes, args: argparse.Namespace) -> Floats:
    """Scores (n, L) of ``small_vgg`` after SGD with momentum under a one-cycle rate."""
    torch.manual_seed(args.seed)
    model = small_vgg(target.shape[1], depth=args.depth).to(memory_format=torch.channels_last)
    pixels, wanted = as_tensor(train), torch.from_numpy(target).float()
    steps = args.epochs * (len(pixels) // args.batch)
    optimiser = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=args.decay, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.lr, total_steps=steps)
    for epoch in range(args.epochs):
        order = torch.randperm(len(pixels))
        total = 0.0
        for rows in order[: len(order) // args.batch * args.batch].split(args.batch):
            loss = F.binary_cross_entropy_with_logits(model(views(pixels[rows])), wanted[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
        print(f"  epoch {epoch + 1:2d}  loss {total / len(pixels):.4f}", flush=True)
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part) for part in as_tensor(test).split(100)]).numpy()


def as_tensor(images: Bytes) -> Tensor:
    """(n, S, S, 3) of 0..255 -> (n, 3, S, S), centred, scaled to about one."""
    x = (torch.from_numpy(images).float() - 120) / 60
    return x.permute(0, 3, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="store_true", help="train the small network as well")
    parser.add_argument("--no-baselines", action="store_true", help="leave the baselines out")
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--depth", type=int, default=1, help="convolutions a stage")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--decay", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    start = time.perf_counter()
    images, targets = load(args.size, args.seed, args.side)
    print(f"drawing: {time.perf_counter() - start:.1f} s")
    order = np.random.default_rng(args.seed).permutation(args.size)
    train, test = np.split(order, [round(0.8 * args.size)])
    names = Synthetic(1).names

    def report(title: str, scores: Floats) -> None:
        each = precision(targets[test], scores)
        labels = "  ".join(f"{name} {value:.3f}" for name, value in zip(names, each, strict=True))
        print(f"{title:<32} mAP {each.mean():.3f}   {labels}   {time.perf_counter() - start:.0f} s", flush=True)

    flat, colours = images.reshape(args.size, -1) / np.float32(255), histograms(images)
    if not args.no_baselines:
        for penalty in (1e2, 1e3, 1e4):
            report(f"raw pixels, penalty {penalty:g}", linear(flat[train], flat[test], targets[train], penalty))
        for penalty in (1e1, 1e2, 1e3):
            report(f"histograms, penalty {penalty:g}", linear(colours[train], colours[test], targets[train], penalty))
    if args.network:
        start = time.perf_counter()
        report("network", network(images[train], targets[train], images[test], args))


if __name__ == "__main__":
    main()
