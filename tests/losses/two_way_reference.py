"""The definition of the metric loss in plain loops, and a batch for it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LabelSet = tuple[float, ...]  # 1 present, 0 absent, between them unknown


def cells(own: LabelSet) -> tuple[float | None, ...]:
    """What is known of a set, by which it is the same as another."""
    return tuple(value if value in (0, 1) else None for value in own)


def neighbours(
    own: LabelSet,
    candidates: Sequence[LabelSet],
    k: int,
    frequency: list[int] | None = None,
    usable: list[bool] | None = None,
) -> list[int]:
    """The first row of each of the k nearest distinct sets that contradict own."""
    found: dict[tuple[float | None, ...], int] = {}
    for row, candidate in enumerate(candidates):
        if (usable is None or usable[row]) and any({a, b} == {0, 1} for a, b in zip(own, candidate, strict=True)):
            found.setdefault(cells(candidate), row)

    def order(row: int) -> tuple[float, int, list[bool], list[bool]]:
        candidate = candidates[row]
        differing = sum(a * (1 - b) + b * (1 - a) for a, b in zip(own, candidate, strict=True))
        often = frequency[row] if frequency else 0
        return differing, -often, [value == 1 for value in candidate], [value == 0 for value in candidate]

    return sorted(found.values(), key=order)[:k]


def row_loss(own: float, rivals: list[float], scale: float, violation: float) -> tuple[float, float]:
    scores = [-d / scale for d in rivals]
    nll = -math.log(math.exp(-own / scale) / (math.exp(-own / scale) + sum(math.exp(s) for s in scores)))
    return nll, nll + violation * sum(max(0.0, s + own / scale) for s in scores) / len(scores)


def definition(
    image: Tensor,
    label: Tensor,
    target: Tensor,
    k: int,
    scale: float = 1.0,
    violation: float = 1.0,
    rival_image: str = "first",
    seed: int = 0,
    usable: list[bool] | None = None,
) -> dict[str, list[float]]:
    images, label_sets = image.tolist(), label.tolist()
    sets = [tuple(row) for row in target.tolist()]
    size = len(sets)
    usable = usable or [True] * size
    uniform = torch.rand(size, min(k, size), generator=torch.Generator().manual_seed(seed)).tolist()
    ways: tuple[list[tuple[float, float]], ...] = ([], [])
    for i in range(size):
        near = neighbours(sets[i], sets, k, usable=usable) if usable[i] else []
        if not near:
            continue
        own = math.dist(images[i], label_sets[i])
        ways[0].append(row_loss(own, [math.dist(images[i], label_sets[j]) for j in near], scale, violation))
        pictures = []
        for place, j in enumerate(near):
            alike = [r for r in range(size) if usable[r] and cells(sets[r]) == cells(sets[j])]
            pictures.append(alike[0 if rival_image == "first" else int(uniform[i][place] * len(alike))])
        ways[1].append(row_loss(own, [math.dist(images[r], label_sets[i]) for r in pictures], scale, violation))
    means = [[sum(row[part] for row in way) / max(len(way), 1) for way in ways] for part in (0, 1)]
    return {"nll": means[0], "loss": means[1]}


def hidden(target: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A target (B, L) with some labels unknown, at probabilities in 128ths, and what is known, bool (B, L).

    The last row is the same set as the first, and the one before it as the second.
    """
    generator = torch.Generator().manual_seed(seed)
    known = torch.rand(target.shape, generator=generator) < 0.6
    known[-2:] = known[[1, 0]]
    share = torch.randint(1, 128, target.shape[1:], generator=generator).to(target.dtype) / 128
    target = target.clone()
    target[-2:] = target[[1, 0]]
    return torch.where(known, target, share), known


def batch(
    size: int = 7, labels: int = 4, width: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings and targets with repeated label sets and an empty one; equal sets have equal label embeddings."""
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(size, labels, generator=generator) > 0.6).to(dtype)
    target[2] = 0
    target[-1] = target[1]
    target[-2] = target[1]
    image = torch.randn(size, width, generator=generator, dtype=dtype)
    label = torch.tanh(target @ torch.randn(labels, width, generator=generator, dtype=dtype)) + 0.3
    return image, label, target
