"""WARP against loops with SplitMix64 in python's integers, then its draw and the limits."""

import pytest
import torch
from gradients import gradient
from torch import Tensor

from retdm.losses import warp_loss

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
TARGET = torch.tensor([[1, 0, 1, 0]])
WORD, GOLDEN = 2**64, 0x9E3779B97F4A7C15


def mix(x: int) -> int:
    x %= WORD
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % WORD
    return x ^ (x >> 31)


def key(seed: int, index: int, p: int, q: int, labels: int) -> int:
    return mix(mix(index * GOLDEN + seed) + (p * labels + q + 1) * GOLDEN) >> 1


def harmonic(rank: int) -> float:
    return sum(1 / i for i in range(1, rank + 1))


def definition(logits: Tensor, target: Tensor, known: Tensor, index: Tensor, seed: int, exact: bool) -> float:
    total = 0.0
    for i, row in enumerate(logits.tolist()):
        cells = [c for c in range(len(row)) if known[i, c]]
        negatives = [c for c in cells if target[i, c] == 0]
        for p in (c for c in cells if target[i, c] == 1):
            if exact:
                found = [1 - row[p] + row[q] for q in negatives if 1 - row[p] + row[q] > 0]
                total += harmonic(len(found)) * sum(found) / max(len(found), 1)
                continue
            tried = sorted(negatives, key=lambda q: key(seed, int(index[i]), p, q, len(row)))
            for trial, q in enumerate(tried, start=1):
                if 1 - row[p] + row[q] > 0:
                    total += harmonic((len(cells) - 1) // trial) * (1 - row[p] + row[q])
                    break
    return total / len(logits)


def batch(size: int = 20, labels: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(size, labels, generator=generator, dtype=torch.float64)
    target = (torch.rand(size, labels, generator=generator) > 0.6).double()
    target[1], target[2] = 0, 1
    known = torch.rand(size, labels, generator=generator) > 0.15
    known[0] = True
    known[3] = False
    index = torch.randint(10**6, (size,), generator=generator)
    return logits, target.masked_fill(~known, torch.nan), known, index


def test_the_hash_is_splitmix64() -> None:
    assert mix(1234567 + GOLDEN) == 6457827717110365317  # first number of the published generator's stream


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_sampled_equals_the_loop(seed: int) -> None:
    logits, target, known, index = batch()
    expected = definition(logits, target, known, index, seed, exact=False)
    loss = warp_loss(logits.masked_fill(~known, torch.nan), target, known, index=index, seed=seed)
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_exact_equals_the_loop() -> None:
    logits, target, known, index = batch()
    expected = definition(logits, target, known, index, 0, exact=True)
    assert warp_loss(logits.masked_fill(~known, torch.nan), target, known, exact=True).item() == pytest.approx(expected)


def test_worked_example() -> None:
    assert warp_loss(LOGITS, TARGET, exact=True).item() == pytest.approx(2.0)
    values = [warp_loss(LOGITS, TARGET, index=torch.tensor([image])).item() for image in range(60)]
    assert {round(value, 5) for value in values} == {3.66667, 2.0}  # the violator at the first or second trial
    many = warp_loss(LOGITS.expand(2000, 4), TARGET.expand(2000, 4), index=torch.arange(2000))
    assert many.item() == pytest.approx(2.8333, abs=0.07)  # 3.7 deviations


def tried_first(positives: int, seed: int = 0, images: int = 2000) -> Tensor:
    """(images, 6): how many of the first labels, the positives, try each label first. All negatives violate."""
    logits = torch.zeros(images, 6, dtype=torch.float64, requires_grad=True)
    target = (torch.arange(6) < positives).expand(images, 6)
    warp_loss(logits, target, index=torch.arange(images), seed=seed).backward()
    return (gradient(logits) * images / harmonic(5)).round().long()[:, positives:]


def test_every_negative_is_tried_first_about_equally_often() -> None:
    first = tried_first(1)
    assert (first.sum(1) == 1).all()
    assert all(330 < count < 470 for count in first.sum(0).tolist())  # 400 expected, deviation 18


def test_the_positives_of_an_image_draw_apart() -> None:
    alike = (tried_first(2) == 2).any(1).sum().item()
    assert 420 < alike < 580  # one in four; 500 expected, deviation 19


def test_seeds_and_images_draw_apart() -> None:
    one, other = tried_first(1, seed=1), tried_first(1, seed=2)
    assert torch.equal(one, tried_first(1, seed=1))
    for a, b in ((one, other), (one[1:], one[:-1])):
        assert 330 < (a & b).sum().item() < 470  # one in five; 400 expected, deviation 18


def test_the_draw_depends_on_the_image_not_on_its_place_in_the_batch() -> None:
    logits, target, known, index = batch()
    whole = warp_loss(logits, target, known, index=index, seed=5)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    parts = [
        warp_loss(logits[part], target[part], known[part], index=index[part], seed=5) * len(part)
        for part in (order[:7], order[7:])
    ]
    assert sum(part.item() for part in parts) / 20 == pytest.approx(whole.item(), abs=1e-12)
    assert warp_loss(logits, target, known, index=index + 1, seed=5).item() != whole.item()


@pytest.mark.parametrize("exact", [True, False])
def test_gradient_in_float64(exact: bool) -> None:
    logits, target, known, index = (part[:5] for part in batch())

    def loss(z: Tensor) -> Tensor:
        return warp_loss(z, target, known, index=index, exact=exact)

    assert torch.autograd.gradcheck(loss, logits.requires_grad_())
    loss(logits).backward()
    assert (
        not gradient(logits)[~known].any() and not gradient(logits)[[1, 2, 3]].any() and (gradient(logits) != 0).any()
    )


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("target", [[0, 0, 0], [1, 1, 1]])
def test_no_pair_gives_zero_with_a_graph(target: Tensor, exact: bool) -> None:
    logits = torch.tensor([[3.0, -800.0, 800.0]], requires_grad=True)
    loss = warp_loss(logits, torch.tensor([target]), index=torch.tensor([0]), exact=exact)
    loss.backward()
    assert loss.item() == 0 and not gradient(logits).any()


@pytest.mark.parametrize("exact", [True, False])
def test_one_label_and_a_margin_that_just_holds_cost_nothing(exact: bool) -> None:
    index = torch.tensor([0])
    assert warp_loss(torch.tensor([[-3.0]]), torch.tensor([[1]]), index=index, exact=exact).item() == 0
    met = warp_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[1, 0]]), index=index, exact=exact)
    assert met.item() == 0


@pytest.mark.parametrize("exact", [True, False])
def test_extreme_logits_are_exact(exact: bool) -> None:
    logits = torch.tensor([[-800.0, 800.0]], dtype=torch.float16, requires_grad=True)
    loss = warp_loss(logits, torch.tensor([[1, 0]]), index=torch.tensor([0]), exact=exact)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == 1601 and gradient(logits).tolist() == [[-1, 1]]


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"index must be int64 \(1,\) unless exact, got None"):
        warp_loss(LOGITS, TARGET)
    with pytest.raises(ValueError, match=r"got torch.float32 \(1,\)"):
        warp_loss(LOGITS, TARGET, index=torch.ones(1))
    with pytest.raises(ValueError, match=r"seed must be in \[0, 2\*\*63\), got -1"):
        warp_loss(LOGITS, TARGET, index=torch.tensor([0]), seed=-1)
