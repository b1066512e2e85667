"""Two-way k-nearest-neighbour softmax metric loss (RETDM, Li et al., TNNLS 2020, eqs. 4-8).

Notation: B rows of the global batch, L labels, D embedding width, k rivals asked for, K = min(k, S) places for them,
S candidate label sets. The formulas are missing from the copy of the paper
at hand; these follow its prose.

Nothing here waits for the device: all shapes are fixed, empty places are masked, and no value is read on the host.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from retdm.losses.label_sets import equal_cells, known_cells, nearest_label_sets


class TwoWay(NamedTuple):
    """Both ways' losses and, detached, diagnostics of their progress; all () float32 or wider."""

    way1: Tensor  # image against label sets, with a graph
    way2: Tensor  # label set against images, with a graph
    own_distance: Tensor  # mean over valid rows of the distance of image and own label set, ÷ unit
    nll1: Tensor  # mean over anchors of -log softmax(own), without the violation term
    nll2: Tensor
    chance1: Tensor  # mean over the same anchors of log(rivals + 1): nll1 stands here when all distances are equal
    chance2: Tensor


def two_way_metric(image: Tensor, label: Tensor, target: Tensor, *, mu: float = 1.0, **options: Any) -> Tensor:
    """Loss of way 1 + mu · way 2 (eq. 8); mu = 0 is the paper's one-way loss. Arguments: :func:`two_way_terms`."""
    terms = two_way_terms(image, label, target, **options)
    return terms.way1 + mu * terms.way2


def two_way_terms(
    image: Tensor,
    label: Tensor,
    target: Tensor,
    *,
    k: int = 10,
    unit: float | Tensor = 1.0,
    temperature: float = 1.0,
    violation: float = 1.0,
    rival_image: str = "random",
    seed: int = 0,
    valid: Tensor | None = None,
    frequency: Tensor | None = None,
    sets: Tensor | None = None,
    set_embedding: Tensor | None = None,
    set_frequency: Tensor | None = None,
) -> TwoWay:
    """Losses that bring each image nearer its own label set than rival sets, and each label set nearer its own image.

    The score of an image and a label set is s = −‖image − label‖₂ ÷ (unit · temperature). The rivals of a row are the
    k nearest distinct label sets that contradict its own (:func:`nearest_label_sets`): in way 1 their embeddings, in
    way 2 one image of the batch for each of them. A row's loss is

        −log softmax(own among own and rivals) + violation · mean over rivals of max(0, s_rival − s_own),

    which for unit = temperature = 1 is eq. 6 with max(0, d_own − d_rival). Rows without a rival are left out of the
    mean. All rows must be those of the *global* batch (:func:`retdm.losses.gather_rows`), equal on every process.

    Args:
        image: (B, D) image embeddings.
        label: (B, D) label embeddings; rows with equal targets must be equal, as one label net without dropout gives
            them, since a set's embedding is read from its first row.
        target: (B, L), 1 where a label is present, 0 where it is absent; between them, where it is unknown, how
            probable it is.
        k: rivals asked for; where there are fewer, all there are.
        unit: the length that counts as one, above 0: a number or a () tensor; never differentiated.
        temperature: divides the score, above 0.
        violation: weight of the hinge, at least 0.
        rival_image: "random" draws the image of a rival set for each anchor and rival, a function of ``seed`` and the
            row's place alone, so equal on every process and device; "first" takes the first row that has the set.
        seed: of the draw; give another one at each step.
        valid: (B,) bool, False where too little of a row's label set is known: neither anchor nor rival, and its target
            is not read. None: all count.
        frequency: (B,) how often each row's label set occurs in training, for ties among neighbours.
        sets: (S, L) label sets that way 1 takes its rivals from, in place of the batch's; may repeat.
        set_embedding: (S, D) their embeddings, given together with ``sets``.
        set_frequency: (S,) like ``frequency``, for ``sets``.

    Returns:
        :class:`TwoWay`. Both losses are never negative; 0, with a graph, where no row has a rival.

    Raises:
        ValueError: shapes that do not fit together, a number out of its range, an unknown ``rival_image``.
    """
    _check(image, label, target, k, unit, temperature, violation, rival_image, valid, sets, set_embedding)
    device = image.device
    valid = torch.ones(len(target), dtype=torch.bool, device=device) if valid is None else valid
    unit = unit.detach() if isinstance(unit, Tensor) else unit

    # Euclidean by direct differences: the matrix-product form cancels where image and label set nearly meet.
    with torch.autocast(device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(image.dtype, label.dtype), torch.float32)
        image, label = image.to(dtype), label.to(dtype)
        own = _distance(image, label) / unit  # (B,)

        nearest = nearest_label_sets(target, k, frequency=frequency, valid=valid)
        nearest = nearest.masked_fill(~valid[:, None], -1)
        rival_row = _images_of(nearest.clamp(min=0), target, valid, rival_image, seed)
        rival = _distance(_rows(image, rival_row), label[:, None]) / unit  # (B, K)
        way2 = _one_way(own, rival, nearest >= 0, temperature, violation)

        set_label = label
        if sets is not None and set_embedding is not None:
            set_label = set_embedding.to(dtype)
            nearest = nearest_label_sets(target, k, candidates=sets, frequency=set_frequency)
            nearest = nearest.masked_fill(~valid[:, None], -1)
        rival = _distance(image[:, None], _rows(set_label, nearest.clamp(min=0))) / unit
        way1 = _one_way(own, rival, nearest >= 0, temperature, violation)

    mean_own = (own.detach() * valid).sum() / valid.sum().clamp(min=1)
    return TwoWay(way1.loss, way2.loss, mean_own, way1.nll, way2.nll, way1.chance, way2.chance)


class _Way(NamedTuple):
    loss: Tensor
    nll: Tensor
    chance: Tensor


def _one_way(own: Tensor, rival: Tensor, present: Tensor, temperature: float, violation: float) -> _Way:
    """One way's loss. own (B,), rival (B, K) distances, present (B, K) bool."""
    gain = (own[:, None] - rival) / temperature  # s_rival - s_own
    # -log softmax(own) = log(e^0 + sum of e^gain); the 0 keeps a row of -inf alone from giving NaN
    nll = torch.cat([torch.zeros_like(own)[:, None], gain.masked_fill(~present, -torch.inf)], 1).logsumexp(1)
    rivals = present.sum(1)
    hinge = gain.clamp(min=0).masked_fill(~present, 0).sum(1) / rivals.clamp(min=1)
    anchors = (rivals > 0).sum().clamp(min=1)  # rows without a rival add exactly 0 below
    chance = torch.log1p(rivals.to(own.dtype)).sum() / anchors
    return _Way((nll + violation * hinge).sum() / anchors, nll.detach().sum() / anchors, chance)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """Euclidean distances over the last dimension; the gradient where two points coincide is 0.

    Only of the pairs that are compared: k rivals a row, where a matrix of all pairs would have B.
    """
    distance: Tensor = torch.linalg.vector_norm(one - other, dim=-1)
    return distance


def _rows(x: Tensor, row: Tensor) -> Tensor:
    """x[row], (S, D) and (B, K) -> (B, K, D), by an embedding.

    Many places of ``row`` name the same row of x. The gradient of indexing adds theirs up in the order in which threads
    finish, that of an embedding always in one order, on a CPU as on a GPU.
    """
    return F.embedding(row, x)


def _images_of(chosen: Tensor, target: Tensor, valid: Tensor, rival_image: str, seed: int) -> Tensor:
    """A row with the same set for each first row of a set in ``chosen``. (B, K) -> (B, K)"""
    if rival_image == "first":
        return chosen
    size = len(target)
    row = torch.arange(size, device=target.device)
    equal = equal_cells(known_cells(target)) & valid  # (B, B): row j has row i's set
    first = torch.where(valid, torch.where(equal, row, size).amin(1), row)  # a row that is not valid is alone
    by_set = first.argsort(stable=True)  # rows of one set side by side, in the order of first
    start = (first[None, :] < first[:, None]).sum(1)
    count = (first[None, :] == first[:, None]).sum(1)
    # Drawn on the CPU, whose generator gives the same numbers everywhere; pinned, so that the copy does not wait.
    draw = torch.rand(chosen.shape, generator=torch.Generator().manual_seed(seed))
    draw = (draw.pin_memory() if target.is_cuda else draw).to(target.device, non_blocking=True)
    pick = (draw * count[chosen]).long().clamp(max=count[chosen] - 1)
    return by_set[start[chosen] + pick]


def _check(
    image: Tensor,
    label: Tensor,
    target: Tensor,
    k: int,
    unit: float | Tensor,
    temperature: float,
    violation: float,
    rival_image: str,
    valid: Tensor | None,
    sets: Tensor | None,
    set_embedding: Tensor | None,
) -> None:
    if image.ndim != 2 or image.shape != label.shape or len(image) == 0:
        raise ValueError(f"image and label must share one shape (B, D), B > 0, got {_shapes(image, label)}")
    if target.ndim != 2 or len(target) != len(image):
        raise ValueError(f"target must be ({len(image)}, L), got {_shapes(target)}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if (isinstance(unit, Tensor) and unit.ndim != 0) or (not isinstance(unit, Tensor) and not unit > 0):
        raise ValueError(f"unit must be above 0, a number or a () tensor, got {unit}")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if not violation >= 0:
        raise ValueError(f"violation must be at least 0, got {violation}")
    if rival_image not in ("random", "first"):
        raise ValueError(f"rival_image must be 'random' or 'first', got {rival_image!r}")
    if valid is not None and (valid.shape != (len(image),) or valid.dtype != torch.bool):
        raise ValueError(f"valid must be bool ({len(image)},), got {valid.dtype} {_shapes(valid)}")
    if (sets is None) != (set_embedding is None):
        raise ValueError("sets and set_embedding go together, got one of them")
    if sets is not None and set_embedding is not None:
        expected = [(len(sets), target.shape[1]), (len(sets), image.shape[1])]
        if _shapes(sets, set_embedding) != expected:
            raise ValueError(f"sets and set_embedding must be (S, L), (S, D), got {_shapes(sets, set_embedding)}")


def _shapes(*tensors: Tensor) -> list[tuple[int, ...]]:
    return [tuple(x.shape) for x in tensors]
