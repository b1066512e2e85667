"""Heads against plain loops and worked numbers; what lies in a bag's empty places changes nothing."""

import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from padded_bags import SIZES, bags, one_bag
from torch import Tensor, nn

from retdm.errors import UserError
from retdm.methods.components.heads import CSRA, DetectorClassifier, GatedAttention, MLDecoder, Pooled
from retdm.methods.components.pooling import Pooling

HEADS: dict[str, Callable[[], nn.Module]] = {
    **{f"pooled {name}": lambda name=name: Pooled(5, 3, name) for name in get_args(Pooling)},  # type: ignore[misc]
    **{f"embeddings {name}": lambda name=name: Pooled(5, 3, name, "embeddings") for name in ("max", "lse", "topk")},  # type: ignore[misc]
    "detector": lambda: DetectorClassifier(5, 3),
    "gated": lambda: GatedAttention(5, 3, 4),
    "plain": lambda: GatedAttention(5, 3, 4, gated=False),
    "csra": lambda: CSRA(5, 3),
    "csra, maximum": lambda: CSRA(5, 3, 0.5, float("inf")),
    "ml_decoder": lambda: MLDecoder(5, 3, width=8, queries=2, heads=2),
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return HEADS[name]().double().eval()


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
    instances, mask = one_bag([-2.0, 0.0, 3.0])
    assert head(instances, mask).item() == pytest.approx(expected, abs=6e-7)
    assert head.instance_logits(instances).flatten().tolist() == pytest.approx([-2.0, 0.0, 3.0])


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
def test_each_bag_is_classified_alone(name: str) -> None:
    head, (instances, mask) = build(name), bags(5)
    whole = head(instances, mask)
    for b, size in enumerate(SIZES):
        alone = head(instances[b : b + 1, :size], mask[b : b + 1, :size])
        assert torch.allclose(alone[0], whole[b])


@pytest.mark.parametrize("name", HEADS)
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


@pytest.mark.parametrize("name", ["detector", "gated", "plain", "ml_decoder"])
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
