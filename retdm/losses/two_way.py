"""Two-way k-nearest-neighbour softmax metric loss (RETDM, Li et al., TNNLS 2020, eqs. 4-8).

Notation: B rows of the global batch, L labels, D embedding width, k rivals asked for, K = min(k, S) places for them,
S candidate label sets. The paper's formulas are lost in the text at hand; ours follow its prose.

Nothing here waits for the device: all shapes are fixed, empty places are masked, no value is read on the host.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class TwoWay(NamedTuple):
    """Both ways' losses and, detached, what shows whether they learn; all () float32 or wider."""

    way1: Tensor  # image against label sets, with a graph
    way2: Tensor  # label set against images, with a graph
    own_distance: Tensor  # mean over complete rows of the distance of image and own label set, ÷ unit
    nll1: Tensor  # mean over anchors of -log softmax(own), without the violation term
    nll2: Tensor
    chance1: Tensor  # mean over the same anchors of log(rivals + 1): nll1 stands here when all distances are equal
    chance2: Tensor


def two_way_metric(image: Tensor, label: Tensor, target: Tensor, *, mu: float = 1.0, **options: Any) -> Tensor:
    """way 1 + mu · way 2 (eq. 8); mu = 0 is the paper's one-way loss. Arguments: :func:`two_way_terms`."""
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
    complete: Tensor | None = None,
    frequency: Tensor | None = None,
    sets: Tensor | None = None,
    set_embedding: Tensor | None = None,
    set_frequency: Tensor | None = None,
) -> TwoWay:
    """Each image shall lie nearer its own label set than rival sets, each label set nearer its own image than rivals'.

    The score of an image and a label set is s = −‖image − label‖₂ ÷ (unit · temperature). The rivals of a row are its
    k nearest distinct label sets (:func:`nearest_label_sets`): in way 1 their embeddings, in way 2 for each of them one
    image of the batch that carries it. A row's loss is

        −log softmax(own among own and rivals) + violation · mean over rivals of max(0, s_rival − s_own),

    which for unit = temperature = 1 is eq. 6 with max(0, d_own − d_rival). Rows without a rival are left out of the
    mean. All rows must be those of the *global* batch (:func:`retdm.losses.gather_rows`), alike on every process.

    Args:
        image: (B, D) image embeddings.
        label: (B, D) label embeddings; rows with equal targets must be equal, as one label net without dropout gives
            them, since a set is read from the first row that carries it.
        target: (B, L), a label is present above 0.5.
        k: rivals asked for; where there are fewer, all there are.
        unit: the length that counts as one, above 0: a number or a () tensor; never differentiated.
        temperature: divides the score, above 0.
        violation: weight of the hinge, at least 0.
        rival_image: "random" draws the image of a rival set for each anchor and rival, a function of ``seed`` and the
            row's place alone, so equal on every process and device; "first" takes the first row that carries the set.
        seed: of the draw; give another one at each step.
        complete: (B,) bool, False where a label is unknown, hence the set: neither anchor nor rival. None: all known.
        frequency: (B,) how often each row's label set occurs in training, for ties among neighbours.
        sets: (S, L) label sets that way 1 takes its rivals from, in place of the batch's; may repeat.
        set_embedding: (S, D) their embeddings, given together with ``sets``.
        set_frequency: (S,) like ``frequency``, for ``sets``.

    Returns:
        :class:`TwoWay`. Both losses are never negative; 0, with a graph, where no row has a rival.

    Raises:
        ValueError: shapes that do not agree, a number out of its range, an unknown ``rival_image``.
    """
    _check(image, label, target, k, unit, temperature, violation, rival_image, complete, sets, set_embedding)
    device = image.device
    complete = torch.ones(len(target), dtype=torch.bool, device=device) if complete is None else complete
    unit = unit.detach() if isinstance(unit, Tensor) else unit

    # Euclidean by direct differences: the matrix-product form cancels where image and label set nearly meet.
    with torch.autocast(device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(image.dtype, label.dtype), torch.float32)
        image, label = image.to(dtype), label.to(dtype)
        own = _distance(image, label) / unit  # (B,)

        nearest = nearest_label_sets(target, k, frequency=frequency, valid=complete)
        nearest = nearest.masked_fill(~complete[:, None], -1)
        rival_row = _images_of(nearest.clamp(min=0), target, complete, rival_image, seed)
        rival = _distance(_rows(image, rival_row), label[:, None]) / unit  # (B, K)
        way2 = _one_way(own, rival, nearest >= 0, temperature, violation)

        set_label = label
        if sets is not None and set_embedding is not None:
            set_label = set_embedding.to(dtype)
            nearest = nearest_label_sets(target, k, candidates=sets, frequency=set_frequency)
            nearest = nearest.masked_fill(~complete[:, None], -1)
        rival = _distance(image[:, None], _rows(set_label, nearest.clamp(min=0))) / unit
        way1 = _one_way(own, rival, nearest >= 0, temperature, violation)

    mean_own = (own.detach() * complete).sum() / complete.sum().clamp(min=1)
    return TwoWay(way1.loss, way2.loss, mean_own, way1.nll, way2.nll, way1.chance, way2.chance)


def nearest_label_sets(
    sets: Tensor,
    k: int,
    *,
    candidates: Tensor | None = None,
    frequency: Tensor | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """For every row the k nearest distinct candidate label sets other than its own, by Hamming distance.

    Ties: the more frequent set first, then ascending order of the sets read as text of 0 and 1, first label first
    ("0011" before "0101"). Memory is that of a few (R, S) matrices: for a large index give the rows in pieces.

    Args:
        sets: (R, L), a label is present above 0.5.
        k: at least 1.
        candidates: (S, L), None for ``sets``; equal rows count as one set.
        frequency: (S,) of each candidate, None where all are alike; of equal rows the first valid one's counts.
        valid: (S,) bool, False for candidates to pass over, None where all count.

    Returns:
        int64 (R, min(k, S)): candidate rows, nearest first, of equal rows the first valid one; -1 where none is left.

    Raises:
        ValueError: k below 1 or shapes that do not agree.
    """
    candidates = sets if candidates is None else candidates
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if sets.ndim != 2 or candidates.ndim != 2 or sets.shape[1] != candidates.shape[1]:
        raise ValueError(f"sets must be (R, L) and candidates (S, L), got {_shapes(sets, candidates)}")
    size = len(candidates)
    for name, given in (("frequency", frequency), ("valid", valid)):
        if given is not None and given.shape != (size,):
            raise ValueError(f"{name} must be ({size},), one for each candidate, got {tuple(given.shape)}")

    place, first = _tie_order(candidates > 0.5, frequency, valid)
    hamming = _hamming(sets, candidates)
    key = hamming * size + place  # orders by (distance, tie order), and no two are equal
    nobody = torch.iinfo(torch.int64).max
    key = key.masked_fill((hamming == 0) | ~first, nobody)
    smallest, index = key.topk(min(k, size), dim=1, largest=False, sorted=True)
    return index.masked_fill(smallest == nobody, -1)


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

    Only the pairs that are compared: k rivals a row, where a matrix of all pairs would hold B.
    """
    distance: Tensor = torch.linalg.vector_norm(one - other, dim=-1)
    return distance


def _rows(x: Tensor, row: Tensor) -> Tensor:
    """x[row], (S, D) and (B, K) -> (B, K, D).

    Many places name one row, and the gradient of indexing adds theirs up in the order in which threads come by; that of
    an embedding has an order of its own, on a CPU as on a GPU.
    """
    return F.embedding(row, x)


def _images_of(chosen: Tensor, target: Tensor, complete: Tensor, rival_image: str, seed: int) -> Tensor:
    """For each first row of a set in chosen (B, K) a row that carries the same set, (B, K)."""
    if rival_image == "first":
        return chosen
    size = len(target)
    row = torch.arange(size, device=target.device)
    equal = (_hamming(target, target) == 0) & complete  # (B, B): column j carries row i's set
    first = torch.where(complete, torch.where(equal, row, size).amin(1), row)  # an incomplete row is alone
    by_set = first.argsort(stable=True)  # rows of one set side by side, in the order of first
    start = (first[None, :] < first[:, None]).sum(1)
    count = (first[None, :] == first[:, None]).sum(1)
    # Drawn on the CPU, whose generator gives the same numbers everywhere; pinned, so that the copy waits for nothing.
    draw = torch.rand(chosen.shape, generator=torch.Generator().manual_seed(seed))
    draw = (draw.pin_memory() if target.is_cuda else draw).to(target.device, non_blocking=True)
    pick = (draw * count[chosen]).long().clamp(max=count[chosen] - 1)
    return by_set[start[chosen] + pick]


def _hamming(one: Tensor, other: Tensor) -> Tensor:
    """(R, L), (S, L) -> int64 (R, S). Counts are exact in float32, not in what autocast would take."""
    with torch.autocast(one.device.type, enabled=False):
        a, b = (one > 0.5).float(), (other > 0.5).float()
        return (a.sum(1)[:, None] + b.sum(1) - 2 * a @ b.T).long()


def _tie_order(sets: Tensor, frequency: Tensor | None, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """(S, L) bool -> each row's place in (frequency descending, 0/1 text) order; whether it is its set's first row."""
    size = len(sets)
    valid = torch.ones(size, dtype=torch.bool, device=sets.device) if valid is None else valid
    words = _packed(sets)
    order = torch.arange(size, device=sets.device)
    for word in reversed(words.unbind(1)):  # stable sorts from the last word to the first: lexicographic
        order = order[word[order].argsort(stable=True)]
    order = order[(~valid[order]).long().argsort(stable=True)]

    ordered = words[order]  # equal sets now stand side by side, in the order of their rows
    first = torch.ones_like(valid)
    first[order[1:]] = (ordered[1:] != ordered[:-1]).any(1)

    if frequency is not None:
        order = order[frequency[order].argsort(descending=True, stable=True)]
    place = torch.empty_like(order)
    place[order] = torch.arange(size, device=sets.device)
    return place, first & valid


def _packed(sets: Tensor, bits: int = 63) -> Tensor:
    """(S, L) bool -> int64 (S, words), first label in the highest bit; never negative, so numbers sort as the text."""
    padded: Tensor = F.pad(sets.long(), (0, -sets.shape[1] % bits)).unflatten(1, (-1, bits))
    return (padded << torch.arange(bits - 1, -1, -1, device=sets.device)).sum(2)


def _check(
    image: Tensor,
    label: Tensor,
    target: Tensor,
    k: int,
    unit: float | Tensor,
    temperature: float,
    violation: float,
    rival_image: str,
    complete: Tensor | None,
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
    if complete is not None and (complete.shape != (len(image),) or complete.dtype != torch.bool):
        raise ValueError(f"complete must be bool ({len(image)},), got {complete.dtype} {_shapes(complete)}")
    if (sets is None) != (set_embedding is None):
        raise ValueError("sets and set_embedding go together, got one of them")
    if sets is not None and set_embedding is not None:
        expected = [(len(sets), target.shape[1]), (len(sets), image.shape[1])]
        if _shapes(sets, set_embedding) != expected:
            raise ValueError(f"sets and set_embedding must be (S, L), (S, D), got {_shapes(sets, set_embedding)}")


def _shapes(*tensors: Tensor) -> list[tuple[int, ...]]:
    return [tuple(x.shape) for x in tensors]
