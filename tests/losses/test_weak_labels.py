"""Losses of unknown cells: worked numbers, plain loops, gradients, and where they become another loss."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from retdm.losses import binary_cross_entropy
from retdm.losses.weak_labels.assume_negative import assume_negative
from retdm.losses.weak_labels.entropy import entropy_loss
from retdm.losses.weak_labels.expected_positives import expected_from_counts, expected_positives
from retdm.losses.weak_labels.gce import gce
from retdm.losses.weak_labels.hill import hill
from retdm.losses.weak_labels.large_loss import large_cells, large_loss
from retdm.losses.weak_labels.partial_bce import partial_bce
from retdm.losses.weak_labels.smoothed_negative import smoothed_negative
from retdm.losses.weak_labels.splc import splc
from retdm.losses.weak_labels.weak_negative import weak_negative

# Single positives: every 0 is unknown.
LOGITS = torch.tensor([[2, -1, 0.5, -2], [-0.5, 1.5, 0, -1]], dtype=torch.float64)
TARGET = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0]])
SINGLE = TARGET > 0

Cell = Callable[[float, str], float]  # logit, "1" present, "0" absent, "?" unknown -> cost


def p(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def cross_entropy(logit: float, truth: float) -> float:
    return -truth * math.log(p(logit)) - (1 - truth) * math.log(1 - p(logit))


def absent_if_unknown(logit: float, cell: str) -> float:
    return cross_entropy(logit, float(cell == "1"))


def smoothed(logit: float, cell: str, share: float = 0.1) -> float:
    return cross_entropy(logit, 1 - share if cell == "1" else share)


def weak(logit: float, cell: str, labels: int = 5) -> float:
    return absent_if_unknown(logit, cell) / (labels - 1 if cell == "?" else 1)


def undecided(logit: float, cell: str, alpha: float = 0.2) -> float:
    return -alpha * cross_entropy(logit, p(logit)) if cell == "?" else absent_if_unknown(logit, cell)


def on_a_hill(logit: float, cell: str) -> float:
    q = p(logit - 1)
    return -((1 - q) ** 2) * math.log(q) if cell == "1" else (1.5 - p(logit)) * p(logit) ** 2


def corrected(logit: float, cell: str) -> float:
    right = p(logit - 1) if cell == "1" else p(logit) if cell == "?" and p(logit) > 0.6 else 1 - p(logit)
    return -((1 - right) ** 2) * math.log(right)


LOOPS: dict[str, tuple[Callable[..., Tensor], Cell]] = {
    "assume_negative": (assume_negative, absent_if_unknown),
    "smoothed_negative": (smoothed_negative, smoothed),
    "weak_negative": (weak_negative, weak),
    "entropy": (entropy_loss, undecided),
    "hill": (hill, on_a_hill),
    "splc": (splc, corrected),
    "splc in the first pass": (partial(splc, epoch=0), lambda x, cell: corrected(x, "0" if cell == "?" else cell)),
    "large_loss in the first pass": (partial(large_loss, rate=0.2, epoch=0), absent_if_unknown),
}
ALL: dict[str, Callable[..., Tensor]] = {name: loss for name, (loss, _) in LOOPS.items()} | {
    "expected_positives": partial(expected_positives, expected=1.5),
    "large_loss, rejecting": partial(large_loss, rate=0.05, epoch=3),
    "large_loss, correcting": partial(large_loss, way="correct", rate=0.05, epoch=3),
    "partial_bce": partial_bce,
    "gce": gce,
}


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(7, 5, generator=generator, dtype=torch.float64)
    target = (torch.rand(7, 5, generator=generator) > 0.5).double()
    known = torch.rand(7, 5, generator=generator) > 0.4
    target[0], target[1], known[2], known[3] = 0, 1, False, True
    return logits, target.masked_fill(~known, torch.nan), known


def cells(target: Tensor, known: Tensor) -> list[list[str]]:
    return [
        ["?" if not known[i, c] else str(int(target[i, c])) for c in range(known.shape[1])] for i in range(len(known))
    ]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (assume_negative, 0.402887),
        (weak_negative, 0.161657),
        (smoothed_negative, 0.496637),
        (partial(expected_positives, expected=1.5), 0.041043 + 0.011434),
        (entropy_loss, -0.047672),
        (partial(large_loss, rate=0.25, epoch=1), 0.194484),
        (partial(large_loss, way="correct", rate=0.125, epoch=2), 0.340387),
        (hill, 0.129742),
        (splc, 0.055723),
    ],
)
def test_worked_example(loss: Callable[..., Tensor], expected: float) -> None:
    assert loss(LOGITS, TARGET, SINGLE).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", LOOPS)
def test_equals_the_loop_over_all_cells(name: str) -> None:
    loss, cost = LOOPS[name]
    logits, target, known = batch()
    said = cells(target, known)
    expected = [cost(logits[i, c].item(), said[i][c]) for i in range(7) for c in range(5)]
    assert loss(logits, target, known).item() == pytest.approx(sum(expected) / 35, abs=1e-12)


@pytest.mark.parametrize("way", ["reject", "correct"])
def test_large_losses_are_the_largest_of_unknown_cells(way: Any) -> None:
    logits, target, known = batch()
    said = cells(target, known)
    unknown = sorted(
        ((logits[i, c].item(), i, c) for i in range(7) for c in range(5) if said[i][c] == "?"), reverse=True
    )
    large = {(i, c) for _, i, c in unknown[:6]}  # ceil(3 * 0.05 * 35)
    expected = 0.0
    for i in range(7):
        for c in range(5):
            cell = said[i][c] if (i, c) not in large else "1"
            expected += 0 if way == "reject" and (i, c) in large else absent_if_unknown(logits[i, c].item(), cell)
    loss = large_loss(logits, target, known, way=way, rate=0.05, epoch=3)
    assert loss.item() == pytest.approx(expected / 35, abs=1e-12)
    assert torch.equal(large_cells(logits, ~known, 9.0), ~known)  # there are no more


def test_expected_positives_adds_a_squared_difference_of_means() -> None:
    logits, target, known = batch()
    said = cells(target, known)
    rows = [sum(p(logits[i, c].item()) for c in range(5)) for i in range(7)]
    known_cells = [
        absent_if_unknown(logits[i, c].item(), said[i][c]) for i in range(7) for c in range(5) if said[i][c] != "?"
    ]
    positives, negatives = torch.tensor([3, 2, 0, 4, 1]), torch.tensor([1, 0, 5, 4, 0])
    count = 3 / 4 + 2 / 7 + 0 + 1 / 2 + 1 / 7
    assert expected_from_counts(positives, negatives, 7).item() == pytest.approx(count)
    loss = expected_positives(logits, target, known, positives=positives, negatives=negatives, rows=7)
    assert loss.item() == pytest.approx(sum(known_cells) / 35 + ((sum(rows) / 7 - count) / 5) ** 2, abs=1e-7)
    with pytest.raises(ValueError, match="needs expected"):
        expected_positives(logits, target, known)


@pytest.mark.parametrize(("alpha", "gamma"), [(-4.45, 1.0), (-2.0, 0.5), (1.0, 1.0)])
def test_partial_bce_weighs_an_images_known_cells_by_their_share(alpha: float, gamma: float) -> None:
    logits, target, known = batch()
    said = cells(target, known)
    expected = 0.0
    for i in range(7):
        share = sum(cell != "?" for cell in said[i]) / 5
        costs = [absent_if_unknown(logits[i, c].item(), said[i][c]) for c in range(5) if said[i][c] != "?"]
        expected += (alpha * share**gamma + 1 - alpha) * sum(costs) / 5
    assert partial_bce(logits, target, known, alpha=alpha, gamma=gamma).item() == pytest.approx(expected / 7, abs=1e-12)


def test_partial_bce_is_the_mean_over_known_cells_where_alpha_says_so() -> None:
    logits, _, _ = batch()
    target, known = (logits > 0.3).double(), torch.arange(5).expand(7, 5) < 2
    found = partial_bce(logits, target, known, alpha=-5 / 2)
    assert found.item() == pytest.approx(binary_cross_entropy(logits, target, known).item(), abs=1e-12)


@pytest.mark.parametrize("q", [1.0, 0.7, 1e-6])
def test_gce_lies_between_the_absolute_error_and_the_cross_entropy(q: float) -> None:
    logits, target, known = batch()
    said = cells(target, known)
    right = [
        p(logits[i, c].item()) if said[i][c] == "1" else 1 - p(logits[i, c].item())
        for i in range(7)
        for c in range(5)
        if said[i][c] != "?"
    ]
    loss = gce(logits, target, known, q=q)
    assert loss.item() == pytest.approx(sum((1 - t**q) / q for t in right) / len(right), abs=1e-9)
    if q == 1e-6:
        torch.testing.assert_close(loss, binary_cross_entropy(logits, target, known), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_gradient(name: str) -> None:
    logits, target, known = batch()
    assert torch.autograd.gradcheck(lambda x: ALL[name](x, target, known), logits.requires_grad_())


@pytest.mark.parametrize("loss", [assume_negative, weak_negative, entropy_loss, partial_bce, large_loss])
def test_where_all_is_known_it_is_the_binary_cross_entropy(loss: Callable[..., Tensor]) -> None:
    logits, target, _ = batch()
    target = target.nan_to_num(0)
    for known in (None, torch.ones(7, 5, dtype=torch.bool)):
        torch.testing.assert_close(loss(logits, target, known), binary_cross_entropy(logits, target))


@pytest.mark.parametrize("name", ALL)
def test_limits(name: str) -> None:
    """Nothing known, one label, one row, half precision, logits of any size: finite, and so is the gradient."""
    logits, target, known = batch()
    assert ALL[name](logits, target, torch.zeros_like(known)).isfinite()
    assert ALL[name](logits[:1], target[:1], None).isfinite()
    of_one_label = partial(expected_positives, expected=1.0) if name == "expected_positives" else ALL[name]
    assert of_one_label(logits[:, :1], target[:, :1], known[:, :1]).isfinite()
    extreme = torch.tensor([[800.0, -800, 800, -800, 0]] * 3).requires_grad_()
    loss = ALL[name](extreme, torch.tensor([[1, 1, 0, 0, 1]] * 3), torch.tensor([[True], [True], [False]]).expand(3, 5))
    loss.backward()
    assert loss.isfinite() and extreme.grad is not None and extreme.grad.isfinite().all()
    assert ALL[name](logits.half(), target, known).dtype == torch.float32
    with pytest.raises(ValueError, match="one shape"):
        ALL[name](logits, target[:1], known)


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (partial(assume_negative, unknown_weight=-1.0), "unknown_weight must be at least 0"),
        (partial(smoothed_negative, smoothing=1.1), "smoothing must be in"),
        (partial(entropy_loss, alpha=-0.1), "alpha must be from 0 to 1"),
        (partial(partial_bce, alpha=2.0), "alpha must be at most 1"),
        (partial(gce, q=0.0), "q must be in"),
        (partial(expected_positives, expected=4.5), "an image has at most 4 labels"),
    ],
)
def test_a_number_out_of_its_range_is_an_error(loss: Callable[..., Tensor], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        loss(LOGITS, TARGET, SINGLE)
