from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from retdm.batch import Batch, TrainingLabels, tensors_of
from retdm.errors import UserError
from retdm.losses import (
    asymmetric_loss,
    binary_cross_entropy,
    distribution_balanced_loss,
    focal_loss,
    softmax_cross_entropy,
    warp_loss,
)
from retdm.methods.base import draw_seed
from retdm.methods.networks.classifier import Classifier
from retdm.methods.weighted import WeightedMethod
from retdm.runs.build import build_method
from retdm.settings.run_settings import RunSettings

Tiny = Callable[..., RunSettings]
LABELS = [str(label) for label in range(20)]


def drawn() -> Batch:
    draw = torch.Generator().manual_seed(0)
    known = torch.rand(12, 20, generator=draw) < 0.8
    target = ((torch.rand(12, 20, generator=draw) < 0.2) & known).float()
    return Batch(torch.arange(12), torch.randn(12, 3, 16, 16, generator=draw), target, known)


def build(settings: RunSettings) -> Classifier:
    method = build_method(settings, LABELS)
    assert isinstance(method, Classifier)
    return method


# The loss


@pytest.mark.parametrize(
    ("more", "loss"),
    [
        (["method=bce"], binary_cross_entropy),
        (["method=cnn_softmax"], softmax_cross_entropy),
        (["method=cnn_warp"], lambda *cells: warp_loss(*cells, index=torch.arange(12), seed=draw_seed(0, 0))),
        (["method=asl"], lambda *cells: asymmetric_loss(*cells, gamma_positive=1)),
        (["method=asl", "method.loss.clip=0.3"], lambda *cells: asymmetric_loss(*cells, gamma_positive=1, clip=0.3)),
        (["method=bce", "method.loss=asymmetric"], asymmetric_loss),
        (["method=bce", "method.loss={name: focal, alpha: null}"], lambda *cells: focal_loss(*cells, alpha=None)),
        (
            ["method=bce", "method.loss={name: binary_cross_entropy, reduction: sum}"],
            lambda *cells: 20 * binary_cross_entropy(*cells),
        ),
    ],
)
def test_the_loss_is_the_named_function_with_its_settings(tiny: Tiny, more: list[str], loss: Any) -> None:
    method, batch = build(tiny(*more)).train(), drawn()
    _, logits = method.embed_and_classify(batch)  # type: ignore[operator]
    found = method.losses(batch)["classification"]  # type: ignore[operator]
    torch.testing.assert_close(found, loss(logits, batch.target, batch.known))


@pytest.mark.parametrize(
    ("loss", "message", "hint"),
    [
        ("asymetric", "method.loss=asymetric is no loss of logits", "did you mean asymmetric?"),
        ("center", "method.loss=center is no loss of logits", "there are: assume_negative, asymmetric, "),
        ("os.path", "method.loss=os.path is no loss of logits", ""),
        ("{gamma_negative: 2}", "method.loss has no name", "such as"),
        ("3", "method.loss=3 is not text", ""),
        (
            "{name: asymmetric, gama_negative: 1}",
            "method.loss.gama_negative is not a setting of asymmetric",
            "gamma_neg",
        ),
        ("{name: asymmetric, clip: 1.5}", "method.loss.clip=1.5 is not a number from 0 to below 1", ""),
        ("{name: binary_cross_entropy, reduction: max}", "method.loss.reduction=max is not one of mean, sum", ""),
        ("{name: warp, seed: 3}", "method.loss.seed is not a setting of warp", ""),
    ],
)
def test_a_loss_that_cannot_be_is_named_before_data_is_read(tiny: Tiny, loss: str, message: str, hint: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        tiny("method=bce", f"method.loss={loss}")
    assert hint in error.value.hint


# Counts of the training split


def labels_of(batch: Batch) -> TrainingLabels:
    return TrainingLabels(batch.target.byte(), batch.known, torch.zeros(12).long())


@pytest.mark.parametrize(
    ("name", "words"), [("bce", "balanced"), ("retdm", "sqrt"), ("center", f"[{','.join(map(str, range(1, 21)))}]")]
)
def test_positive_cells_weigh_what_the_training_split_says(tiny: Tiny, name: str, words: str) -> None:
    method, batch = build_method(tiny(f"method={name}", f"method.pos_weight={words}"), LABELS), drawn()
    assert isinstance(method, WeightedMethod)
    method.use_training_labels(labels_of(batch))
    weights = []
    for j in range(20):
        positives = sum(bool(batch.target[i, j]) for i in range(12) if batch.known[i, j])
        negatives = int(batch.known[:, j].sum()) - positives
        ratio = negatives / positives if positives and negatives else 1.0
        weights.append({"balanced": ratio, "sqrt": ratio**0.5}.get(words, j + 1))
    assert 1.0 in weights, "a label without a positive is tried too"
    _, logits = method.embed_and_classify(batch)
    expected = binary_cross_entropy(logits, batch.target, batch.known, pos_weight=torch.tensor(weights))
    torch.testing.assert_close(method.eval().losses(batch)["classification"], expected)


def test_a_loss_that_goes_by_frequency_gets_the_counts_of_the_training_split(tiny: Tiny) -> None:
    method, batch = build(tiny("method=bce", "method.loss=distribution_balanced")), drawn()
    method.use_training_labels(labels_of(batch))
    positive = (batch.target > 0) & batch.known
    counts = {"positives": positive.sum(0), "negatives": (batch.known & ~positive).sum(0)}
    _, logits = method.embed_and_classify(batch)
    expected = distribution_balanced_loss(logits, batch.target, batch.known, **counts)
    torch.testing.assert_close(method.losses(batch)["classification"], expected)


def test_weights_that_cannot_be_are_named(tiny: Tiny) -> None:
    with pytest.raises(UserError, match="method.pos_weight lists 2 weights for 20 labels"):
        build(tiny("method=bce", "method.pos_weight=[1,2]"))
    with pytest.raises(UserError, match="method.pos_weight=balanced has no use with method.loss=asymmetric"):
        build(tiny("method=asl", "method.pos_weight=balanced"))
    with pytest.raises(UserError, match="method.pos_weight=even is not one of none, balanced, sqrt"):
        tiny("method=bce", "method.pos_weight=even")


# Scores


@pytest.mark.parametrize("name", ["bce", "asl", "cnn_warp"])
def test_scores_are_sigmoids_of_the_logits(tiny: Tiny, name: str) -> None:
    method, batch = build(tiny(f"method={name}")).eval(), drawn()
    _, logits = method.embed_and_classify(batch)  # type: ignore[operator]
    assert torch.equal(method.scores(batch), logits.sigmoid())  # type: ignore[operator]


def test_with_softmax_the_labels_of_an_image_share_one_probability(tiny: Tiny) -> None:
    method = build(tiny("method=cnn_softmax"))
    method.classifier.weight.data.zero_()  # type: ignore[operator, union-attr]
    method.classifier.bias.data.copy_(torch.tensor([5.0, 5.0, *[-5.0] * 18]))  # type: ignore[operator, union-attr]
    scores: Tensor = method.eval().scores(drawn())  # type: ignore[operator]
    assert scores.sum(1).tolist() == pytest.approx([1] * 12)
    assert scores[0, :3].tolist() == pytest.approx([0.5, 0.5, 0], abs=1e-3)


# Losses that draw


@pytest.fixture
def warp(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tensor]:
    """``warp(seed, step, training)`` of one batch and the same weights."""
    method, batch = build(tiny("method=cnn_warp")), drawn()

    def of(seed: int, step: int, training: bool = True, rows: Any = slice(None)) -> Tensor:
        method.seed = seed
        monkeypatch.setattr(Classifier, "global_step", step, raising=False)
        method.train(training)
        return method.losses(Batch(*(column[rows] for column in tensors_of(batch).values())))["classification"]

    return of


def test_what_a_step_draws_is_a_function_of_seed_and_step(warp: Callable[..., Tensor]) -> None:
    assert torch.equal(warp(0, 3), warp(0, 3))
    assert len({warp(seed, step).item() for seed in (0, 1) for step in (3, 4)}) == 4


def test_what_is_drawn_for_an_image_does_not_depend_on_its_place_in_the_batch(warp: Callable[..., Tensor]) -> None:
    whole, halves = warp(0, 3), [warp(0, 3, rows=rows) for rows in (slice(6), slice(6, 12))]
    torch.testing.assert_close(whole, sum(halves) / 2)
    torch.testing.assert_close(whole, warp(0, 3, rows=torch.randperm(12)))


def test_validation_draws_the_same_at_every_step(warp: Callable[..., Tensor]) -> None:
    assert torch.equal(warp(0, 3, training=False), warp(0, 4, training=False))
