from collections.abc import Callable, Sequence
from itertools import permutations, product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from retdm.batch import Batch
from retdm.methods.networks.cnn_rnn import CNNRNN, PADDING, LabelRNN, label_probability, label_sequence
from retdm.runs.build import build_data, build_method
from retdm.settings.run_settings import RunSettings

LABELS = ["a", "b", "c", "d"]


def build(settings: RunSettings) -> CNNRNN:
    built = build_method(settings, LABELS)
    assert isinstance(built, CNNRNN)
    return built.eval()


def lively(dim: int = 5) -> LabelRNN:
    """An LSTM whose probabilities lie far from equal."""
    torch.manual_seed(0)
    rnn = LabelRNN(dim, 4, 8, 16)
    for parameter in rnn.parameters():
        parameter.data.mul_(3)
    return rnn


def probability(rnn: LabelRNN, image: Tensor, path: Sequence[int]) -> Tensor:
    """The probability that a sequence for one image (D,) begins with the labels of ``path``: step by step."""
    state = rnn.start(rnn.projected(image[None]))
    last, used, product = torch.tensor([4]), torch.zeros(1, 4, dtype=torch.bool), torch.ones(())
    for label in path:
        following, state = rnn.step(last, used, state)
        product = product * following[0, label].exp()
        last, used = torch.tensor([label]), used | torch.eye(4, dtype=torch.bool)[label]
    return product


# The order


def test_the_order_is_by_frequency_in_the_training_part_and_in_the_checkpoint(
    tiny: Callable[..., RunSettings],
) -> None:
    settings = tiny("method=cnn_rnn")
    data = build_data(settings)
    method: Any = build_method(settings, data.labels)
    method.use_training_labels(data.training_labels())
    counts = data.source.targets[data.splits["train"]].sum(0)
    assert list(counts[method.order]) == sorted(counts, reverse=True)
    assert len(set(counts)) > 1
    fresh = build_method(settings, data.labels)
    fresh.load_state_dict(method.state_dict())
    assert torch.equal(fresh.order, method.order)  # type: ignore[arg-type]


def test_a_sequence_has_the_labels_in_order_then_the_end_then_padding() -> None:
    target = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 0, 1]])
    known = torch.ones(5, 4, dtype=torch.bool)
    known[4] = torch.tensor([True, False, True, True])
    order = torch.tensor([2, 0, 3, 1])
    end = 4
    expected = [
        [2, 0, end, PADDING],
        [end, PADDING, PADDING, PADDING],
        [2, 0, 3, 1],
        [2, 3, 1, end],
        [0, 3, end, PADDING],
    ]
    assert label_sequence(target, known, order, 4).tolist() == expected
    assert label_sequence(target, known, order, 2).tolist() == [row[:2] for row in expected]


def test_an_image_of_which_nothing_is_known_has_no_sequence(tiny: Callable[..., RunSettings]) -> None:
    nothing = torch.zeros(3, 4)
    assert (label_sequence(nothing, nothing.bool(), torch.arange(4), 4) == PADDING).all()
    method = build(tiny("method=cnn_rnn"))
    assert method.losses(Batch(torch.arange(3), torch.randn(3, 3, 16, 16), nothing, nothing.bool()))["sequence"] == 0


# Training


def test_the_loss_is_minus_the_log_of_the_true_paths_probability(tiny: Callable[..., RunSettings]) -> None:
    method = build(tiny("method=cnn_rnn"))
    method.order = torch.tensor([2, 0, 3, 1])
    image = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[1.0, 0, 1, 0], [1, 1, 1, 1]])
    batch = Batch(torch.arange(2), image, target, torch.ones(2, 4, dtype=torch.bool))
    loss = method.losses(batch)["sequence"]
    embedding = method.encoder(batch)
    ended = probability(method.classifier, embedding[0], [2, 0]) - sum(
        probability(method.classifier, embedding[0], [2, 0, label]) for label in (1, 3)
    )
    whole = probability(method.classifier, embedding[1], [2, 0, 3, 1])
    torch.testing.assert_close(loss, -(ended.log() + whole.log()) / 2)


def test_an_unknown_label_is_never_predicted(tiny: Callable[..., RunSettings]) -> None:
    rnn, image = lively(), torch.randn(1, 5)
    known = torch.tensor([[True, False, True, True]])
    logits = rnn(image, torch.tensor([[0, 2, 4]]), known)
    assert logits.isinf()[0].tolist() == [
        [False, True, False, False, False],
        [True, True, False, False, False],
        [True, True, True, False, False],
    ]


# The search


def test_it_finds_what_a_greedy_search_misses() -> None:
    """p(a)=.5, p(b)=.4, p(end)=.1; p(b|a)=.4, p(a|b)=.9: the better path begins with the worse label."""

    def step(last: Tensor, used: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        table = torch.tensor([[0, 0.4, 0.6], [0.9, 0, 0.1], [0.5, 0.4, 0.1]])
        rows = table[last]
        assert not rows[:, :2][used].any()
        return rows.log().where(~used.all(1)[:, None], torch.tensor([-torch.inf, -torch.inf, 0])), state

    images = [torch.zeros(3, 1)]
    torch.testing.assert_close(label_probability(step, images, 2, 2, beams=1), torch.tensor([[0.5, 0.6]] * 3))
    both = torch.tensor([[0.5 + 0.4 * 0.9, 0.4 + 0.5 * 0.4]] * 3)
    torch.testing.assert_close(label_probability(step, images, 2, 2, beams=2), both)


@pytest.mark.parametrize("length", [1, 2, 4])
def test_where_all_paths_are_followed_the_probability_is_exact(length: int) -> None:
    rnn, images = lively(), torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = label_probability(rnn.step, rnn.start(rnn.projected(images)), 4, length, beams=24)
        for image, scores in zip(images, found, strict=True):
            exact = torch.zeros(4)
            for used in range(1, length + 1):
                for path in permutations(range(4), used):
                    exact[path[-1]] += probability(rnn, image, path)
            torch.testing.assert_close(scores, exact)
        assert found.std() > 0.1


@pytest.mark.parametrize("beams", [2, 4, 7])
def test_with_few_beams_a_followed_path_stands_for_those_that_end_as_it_does(beams: int) -> None:
    rnn, images = lively(), torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = label_probability(rnn.step, rnn.start(rnn.projected(images)), 4, 3, beams)
        for image, scores in zip(images, found, strict=True):
            expected = torch.zeros(4)
            followed: dict[tuple[int, ...], float] = {(): 1.0}
            for _ in range(3):
                longer = {
                    (*path, label): mass * float(probability(rnn, image, (*path, label)) / before)
                    for path, mass in followed.items()
                    if (before := probability(rnn, image, path)) > 0
                    for label in range(4)
                    if label not in path
                }
                for path, mass in longer.items():
                    expected[path[-1]] += mass
                ordered = sorted(longer, key=lambda path: -longer[path])
                leads = {path[-1]: path for path in reversed(ordered)}
                kept = [path for path in ordered if path in leads.values()]
                kept = (kept + [path for path in ordered if path not in kept])[:beams]
                followed = {path: longer[path] for path in kept}
                for path, mass in longer.items():
                    if path not in kept and leads[path[-1]] in kept:
                        followed[leads[path[-1]]] += mass
            torch.testing.assert_close(scores, expected.clamp(max=1))


def in_order(chance: Callable[[Tensor], Tensor], labels: int) -> Any:
    """A step that predicts labels in their order: each with ``chance`` (n, L), given those before it (n, L)."""

    def step(last: Tensor, used: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        later = torch.arange(labels) > last.where(last < labels, -1)[:, None]
        chances = chance(used.float()).where(later, 0)
        passed = F.pad((1 - chances).cumprod(1), (1, 0), value=1)  # none of those before is predicted
        return torch.cat([passed[:, :-1] * chances, passed[:, -1:]], 1).log(), state

    return step


def test_independent_labels_have_their_probabilities_with_as_many_beams_as_labels() -> None:
    step = in_order(lambda used: torch.full_like(used, 0.3), 10)
    found = label_probability(step, [torch.zeros(1, 1)], 10, 10, beams=16)
    torch.testing.assert_close(found, torch.full((1, 10), 0.3), atol=1e-4, rtol=0)
    few = label_probability(step, [torch.zeros(1, 1)], 10, 10, beams=4)
    assert (few < 0.3001).all() and few[0, -1] > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_what_is_not_followed_is_nearly_made_up_for(seed: int) -> None:
    """Labels that depend on all labels before them, against all 1,024 label sets."""
    rng = torch.Generator().manual_seed(seed)
    bias, pull = torch.randn(10, generator=rng) * 1.2 - 1.8, torch.randn(10, 10, generator=rng) * 0.8
    chance = lambda used: (bias + used @ pull).sigmoid()  # noqa: E731
    exact = torch.zeros(10)
    for used in product([0.0, 1.0], repeat=10):
        mass = 1.0
        for label, is_there in enumerate(used):
            before = torch.tensor([*used[:label], *[0.0] * (10 - label)])
            one = float(chance(before)[label])
            mass *= one if is_there else 1 - one
        exact += mass * torch.tensor(used)
    wrong = [
        (label_probability(in_order(chance, 10), [torch.zeros(1, 1)], 10, 10, beams)[0] - exact).abs().max()
        for beams in (4, 16, 1024)
    ]
    assert wrong[2] < 1e-5 and wrong[1] < 0.03 and wrong[1] < wrong[0]


def test_every_label_has_a_score_of_its_own(tiny: Callable[..., RunSettings]) -> None:
    method = build(tiny("method=cnn_rnn", "method.beams=1"))
    nothing = torch.zeros(50, 4)
    with torch.inference_mode():
        scores = method.scores(Batch(torch.arange(50), torch.randn(50, 3, 16, 16), nothing, nothing.bool()))
    assert len(scores.unique()) == 200
    assert scores.min() > 0
