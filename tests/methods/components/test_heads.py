"""Poolings and heads against plain loops and worked numbers; what lies in a bag's empty places changes nothing."""

import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from retdm.errors import UserError
from retdm.methods.components.heads import CSRA, DetectorClassifier, GatedAttention, MLDecoder, Pooled
from retdm.methods.components.pooling import Pooling, attended_score, log_attention, pool

POOLINGS = get_args(Pooling)
SIZES = [3, 1, 6, 4]  # instances of four bags
WORKED = [-2.0, 0.0, 3.0]
HEADS: dict[str, Callable[[], nn.Module]] = {
    **{f"pooled {name}": lambda name=name: Pooled(5, 3, name) for name in POOLINGS},  # type: ignore[misc]
    **{f"embeddings {name}": lambda name=name: Pooled(5, 3, name, "embeddings") for name in ("max", "lse", "topk")},  # type: ignore[misc]
    "detector": lambda: DetectorClassifier(5, 3),
    "gated": lambda: GatedAttention(5, 3, 4),
    "plain": lambda: GatedAttention(5, 3, 4, gated=False),
    "csra": lambda: CSRA(5, 3),
    "csra, maximum": lambda: CSRA(5, 3, 0.5, float("inf")),
    "ml_decoder": lambda: MLDecoder(5, 3, width=8, queries=2, heads=2),
}


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def by_hand(values: list[float], pooling: str, sharpness: float = 5.0, top: float = 0.1) -> float:
    """A bag's logit as the definitions say, in plain numbers."""
    n, chances = len(values), [sigmoid(value) for value in values]
    kept = max(1, round(top * n))
    return {
        "max": lambda: max(values),
        "mean": lambda: sum(values) / n,
        "lse": lambda: math.log(sum(math.exp(sharpness * value) for value in values) / n) / sharpness,
        "topk": lambda: sum(sorted(values)[-kept:]) / kept,
        "mean_score": lambda: logit(sum(chances) / n),
        "noisy_or": lambda: logit(1 - math.prod(1 - p for p in chances)),
        "linear_softmax": lambda: logit(sum(p * p for p in chances) / sum(chances)),
    }[pooling]()


def bags(width: int = 3, kind: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Four bags of ``SIZES`` (4, 6, width) and their mask; 0 in empty places."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(max(SIZES)) < torch.tensor(SIZES)[:, None]
    return (2 * torch.randn(*mask.shape, width, generator=generator, dtype=kind)) * mask[..., None], mask


def one_bag(values: list[float]) -> tuple[Tensor, Tensor]:
    return torch.tensor(values, dtype=torch.float64)[None, :, None], torch.ones(1, len(values), dtype=torch.bool)


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return HEADS[name]().double().eval()


# Poolings


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_pooling_is_what_its_definition_says(pooling: Any) -> None:
    logits, mask = bags()
    found = pool(logits, mask, pooling, sharpness=1.7, top=0.5)
    for b, size in enumerate(SIZES):
        for label in range(3):
            expected = by_hand(logits[b, :size, label].tolist(), pooling, 1.7, 0.5)
            assert found[b, label].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("pooling", "sharpness", "score"),
    [
        ("max", 5, 0.952574),
        ("mean_score", 5, 0.523926),
        ("mean", 5, 0.582570),
        ("lse", 1, sigmoid(1.956373)),
        ("lse", 5, sigmoid(2.780278)),
        ("noisy_or", 5, 0.979114),
        ("noisy_or", 5, sigmoid(3.847555)),
        ("linear_softmax", 5, 0.745403),
    ],
)
def test_worked_numbers(pooling: Any, sharpness: float, score: float) -> None:
    found = pool(*one_bag(WORKED), pooling, sharpness=sharpness).sigmoid().item()
    assert found == pytest.approx(score, abs=6e-7)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_of_a_pooling_are_those_of_its_values(pooling: Any) -> None:
    logits, mask = bags()
    logits[0, :, 0] -= 25  # where noisy-or takes another form
    logits[2, :, 1] += 25
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pool(x, mask, pooling, top=0.4), logits, fast_mode=True)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("values", [[800.0, 800.0], [-800.0, -800.0], [-800.0, 800.0], [0.0, -800.0], [90.0, -90.0]])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_logits_however_large_give_numbers_and_gradients(pooling: Any, values: list[float], kind: torch.dtype) -> None:
    logits, mask = one_bag([*values, float("nan")])
    mask[0, -1] = False
    logits = logits.to(kind).requires_grad_()
    found = pool(logits, mask, pooling)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert found.isfinite().all()
    assert gradient.isfinite().all()
    assert gradient[0, -1] == 0
    if pooling != "mean_score" or values[0] == values[1]:  # the mean of 0 and 1 stands still
        assert gradient[:, :2].abs().sum() > 0.1


def test_noisy_or_of_hopeless_instances_is_the_sum_of_their_chances() -> None:
    for value in (-20.0, -40.0, -90.0, -800.0):
        found = pool(*one_bag([value] * 4), "noisy_or").item()
        assert found == pytest.approx(value + math.log(4), rel=1e-9)


def test_topk_counts_at_least_one_and_all_of_a_whole_share() -> None:
    logits, mask = bags()
    assert torch.equal(pool(logits, mask, "topk", top=0.01), pool(logits, mask, "max"))
    assert torch.allclose(pool(logits, mask, "topk", top=1.0), pool(logits, mask, "mean"))


# Attention


def test_detector_and_classifier_worked_numbers() -> None:
    logits, mask = one_bag(WORKED)
    relevance, _ = one_bag([0.0, 1.0, 2.0])
    share = log_attention(relevance, mask).exp()
    assert share.flatten().tolist() == pytest.approx([0.090031, 0.244728, 0.665241], abs=6e-7)
    found = attended_score(logits, relevance, mask)
    assert found.sigmoid().item() == pytest.approx(0.766787, abs=6e-7)
    assert nn.functional.softplus(-found).item() == pytest.approx(0.265546, abs=6e-7)
    assert nn.functional.softplus(found).item() == pytest.approx(1.455805, abs=6e-7)


def test_attended_score_is_the_weighted_mean_of_chances() -> None:
    logits, mask = bags()
    relevance = bags()[0].flip(0) * 0.7 + logits
    found = attended_score(logits, relevance, mask)
    for b, size in enumerate(SIZES):
        for label in range(3):
            shares = [math.exp(value) for value in relevance[b, :size, label].tolist()]
            chances = [sigmoid(value) for value in logits[b, :size, label].tolist()]
            p = sum(share * chance for share, chance in zip(shares, chances, strict=True)) / sum(shares)
            assert found[b, label].item() == pytest.approx(logit(p), rel=1e-9)


@pytest.mark.parametrize("relevance", [[800.0, -800.0], [0.0, 0.0]])
@pytest.mark.parametrize("values", [[800.0, 800.0], [-800.0, 800.0]])
def test_attended_scores_however_large_are_numbers_with_gradients(relevance: list[float], values: list[float]) -> None:
    logits, mask = one_bag([*values, float("nan")])
    where, _ = one_bag([*relevance, float("inf")])
    mask[0, -1] = False
    inputs = [logits.requires_grad_(), where.requires_grad_()]
    found = attended_score(logits, where, mask)
    gradients = torch.autograd.grad(found.sum(), inputs)
    assert found.isfinite().all()
    assert all(gradient.isfinite().all() and gradient[0, -1] == 0 for gradient in gradients)
    if values[0] == values[1] or relevance[0] > 0:  # the mean of 0 and 1 stands still
        assert gradients[0].abs().sum() > 0.1


@pytest.mark.parametrize(
    ("gated", "size", "shares"),
    [
        (False, 3, [0.790172, 0.037558, 0.172270]),
        (True, 3, [0.650365, 0.097640, 0.251995]),
        (True, 2, [0.869466, 0.130534, 0]),
    ],
)
def test_gated_attention_worked_numbers(gated: bool, size: int, shares: list[float]) -> None:
    head = GatedAttention(2, 1, 1, gated=gated).double()
    relevance = head.relevance
    nn.init.zeros_(relevance.value.bias)
    nn.init.zeros_(relevance.weight.bias)
    relevance.value.weight.data = torch.tensor([[1.0, -1.0]]).double()
    relevance.weight.weight.data = torch.tensor([[2.0]]).double()
    if relevance.gate is not None:
        nn.init.zeros_(relevance.gate.bias)
        relevance.gate.weight.data = torch.tensor([[0.5, 0.5]]).double()
    instances = torch.tensor([[[1.0, 0], [0, 1], [1, 1]]]).double()
    found = head.attention_weights(instances, torch.arange(3)[None] < size)
    assert found.flatten().tolist() == pytest.approx(shares, abs=6e-7)


def test_gated_attention_classifies_the_attended_mean_of_each_label() -> None:
    head, (instances, mask) = build("gated"), bags(5)
    assert isinstance(head, GatedAttention)
    logits, shares = head(instances, mask), head.attention_weights(instances, mask)
    for b, size in enumerate(SIZES):
        for label in range(3):
            mean = torch.stack([shares[b, i, label] * instances[b, i] for i in range(size)]).sum(0)
            expected = head.linear.weight[label] @ mean + head.linear.bias[label]
            assert torch.allclose(logits[b, label], expected)


# Heads for images


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.616008), (float("inf"), 0.633333)])
def test_csra_worked_numbers(temperature: float, expected: float) -> None:
    head = CSRA(1, 1, 0.1, temperature).double()
    head.weight.data.fill_(7.0)  # its length counts for nothing
    instances, mask = one_bag(WORKED)
    assert head(instances, mask).item() == pytest.approx(expected, abs=6e-7)
    assert head.instance_logits(instances).flatten().tolist() == pytest.approx(WORKED)


def test_csra_is_its_formula() -> None:
    head, (instances, mask) = build("csra"), bags(5)
    assert isinstance(head, CSRA)
    nn.init.normal_(head.bias)
    found = head(instances, mask)
    for b, size in enumerate(SIZES):
        for label in range(3):
            weight = head.weight[label]
            scores = [((weight @ row) / weight.norm() + head.bias[label]).item() for row in instances[b, :size]]
            parts = [math.exp(score) for score in scores]
            attended = sum(part * score for part, score in zip(parts, scores, strict=True)) / sum(parts)
            assert found[b, label].item() == pytest.approx(sum(scores) / size + 0.2 * attended, rel=1e-9)


@pytest.mark.parametrize(("labels", "queries", "shape"), [(3, 100, (3, 8, 1)), (7, 3, (3, 8, 3)), (6, 3, (3, 8, 2))])
def test_ml_decoder_has_a_query_for_each_label_or_for_a_share_of_them(
    labels: int, queries: int, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    head = MLDecoder(5, labels, width=8, queries=queries, heads=2).eval()
    assert head.weight.shape == shape
    instances, mask = bags(5, torch.float32)
    found = head(instances, mask)
    assert found.shape == (4, labels)
    before = found.detach().clone()
    head.weight.data[0] += torch.randn(shape[1:])  # the first query answers for the first labels, and for no other
    moved = (head(instances, mask) - before).abs().amax(0) > 1e-6
    assert moved.tolist() == [label < shape[2] for label in range(labels)]
    assert "queries" in head.state_dict() and "queries" not in dict(head.named_parameters())


def test_ml_decoder_is_attention_of_fixed_queries_and_a_linear_map_each() -> None:
    head, (instances, mask) = build("ml_decoder"), bags(5)
    assert isinstance(head, MLDecoder)
    found = head(instances, mask)
    attention, (first, second, third) = head.attention, head.norms
    maps = attention.in_proj_weight.chunk(3)
    offsets = attention.in_proj_bias.chunk(3)
    for b, size in enumerate(SIZES):
        memory = head.project(instances[b, :size]).relu()
        query = first(head.queries)
        q, k, v = (x @ w.T + o for x, w, o in zip((query, memory, memory), maps, offsets, strict=True))
        heads = [(q[:, s] @ k[:, s].T / 2).softmax(1) @ v[:, s] for s in (slice(0, 4), slice(4, 8))]  # 2 = sqrt(4)
        answer = second(query + attention.out_proj(torch.cat(heads, 1)))
        answer = third(answer + head.between(answer))
        logits = torch.cat([answer[i] @ head.weight[i] for i in range(2)])[:3] + head.bias
        assert torch.allclose(found[b], logits)


# What every head promises


@pytest.mark.parametrize("name", HEADS)
def test_garbage_in_empty_places_changes_neither_logits_nor_gradients(name: str) -> None:
    head, (instances, mask) = build(name), bags(5)
    dirty = torch.cat([instances, torch.zeros(4, 3, 5).double()], 1)
    wide = torch.cat([mask, torch.zeros(4, 3, dtype=torch.bool)], 1)
    dirty[~wide] = 1e6
    found: list[Tensor] = []
    gradients: list[list[Any]] = []
    for rows, there in ((instances, mask), (dirty, wide)):
        head.zero_grad()
        rows.requires_grad_()
        logits = head(rows, there)
        logits.square().sum().backward()
        found.append(logits.detach())
        gradient: Any = rows.grad
        gradients.append([gradient[there], *[p.grad for p in head.parameters()]])
        assert gradient[~there].eq(0).all()
    assert torch.allclose(found[0], found[1])
    assert all(torch.allclose(one, other, atol=1e-10) for one, other in zip(*gradients, strict=True))
    assert all(one.isfinite().all() for one in gradients[0])


@pytest.mark.parametrize("name", HEADS)
def test_the_order_of_instances_changes_nothing(name: str) -> None:
    head, (instances, mask) = build(name), bags(5)
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    assert torch.allclose(head(instances[:, order], mask[:, order]), head(instances, mask))


@pytest.mark.parametrize("name", HEADS)
def test_each_bag_is_judged_alone(name: str) -> None:
    head, (instances, mask) = build(name), bags(5)
    whole = head(instances, mask)
    for b, size in enumerate(SIZES):
        alone = head(instances[b : b + 1, :size], mask[b : b + 1, :size])
        assert torch.allclose(alone[0], whole[b])


@pytest.mark.parametrize("name", [name for name in HEADS if name != "ml_decoder"])
def test_a_bag_of_one_instance_says_what_the_instance_says(name: str) -> None:
    head: Any = build(name)
    instances, mask = bags(5)
    said = head.instance_logits(instances)
    found = head(instances[:, :1], mask[:, :1])
    times = 1 + head.share if isinstance(head, CSRA) else 1
    assert torch.allclose(found, times * said[:, 0])


@pytest.mark.parametrize("name", HEADS)
def test_gradients_of_a_head_are_those_of_its_values(name: str) -> None:
    head, (instances, mask) = build(name), bags(5)
    instances.requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: head(rows, mask), instances, fast_mode=True)


@pytest.mark.parametrize("name", ["detector", "gated", "plain"])
def test_attention_is_a_share_of_the_bag(name: str) -> None:
    head: Any = build(name)
    instances, mask = bags(5)
    found = head.attention_weights(instances, mask)
    assert torch.allclose(found.sum(1), torch.ones(4, 3).double())
    assert found[~mask].eq(0).all()
    assert (found[mask] > 0).all()


def test_embeddings_are_no_probabilities_to_pool() -> None:
    with pytest.raises(UserError, match="method.pooling=noisy_or works on probabilities") as error:
        Pooled(5, 3, "noisy_or", "embeddings")
    assert "topk" in error.value.hint
