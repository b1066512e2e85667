import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deep_methods import at_stage, ready
from torch import Tensor

import retdm
from retdm.batch import Batch, tensors_of
from retdm.losses import binary_cross_entropy, squared_error, two_way_metric, two_way_terms
from retdm.methods.base import draw_seed
from retdm.methods.networks.retdm import RETDM
from retdm.settings.run_settings import RunSettings

Tiny = Callable[..., RunSettings]


def composed(method: RETDM, batch: Batch, mu: float) -> dict[str, Tensor]:
    """Its losses from the functions of retdm.losses, put together by hand as eq. 13 says."""
    image, label = method.encoder(batch), method.label_net(batch.target)
    training = method.trainer.datamodule.source.targets[method.trainer.datamodule.splits["train"]]  # type: ignore[attr-defined]
    often = [sum((row == target).all() for row in training) for target in batch.target.numpy()]
    return {
        "classification": binary_cross_entropy(method.classifier(image), batch.target),
        "reconstruction": squared_error(method.reconstruction(label), batch.target),
        "metric": two_way_metric(
            image,
            label,
            batch.target,
            mu=mu,
            k=3,
            unit=2.5,
            temperature=0.7,
            violation=0.4,
            seed=draw_seed(method.seed, 0),
            frequency=torch.tensor(often),
        ),
    }


OPTIONS = ["method.k=3", "method.unit=2.5", "method.temperature=0.7", "method.violation=0.4", "method.embedding_dim=6"]


def test_retdm_losses_are_those_of_the_formulas(tiny: Tiny) -> None:
    for mu in (1.0, 0.25):
        method, batch = ready(tiny("method=retdm", *OPTIONS, f"method.mu={mu}"))
        assert isinstance(method, RETDM)
        at_stage(method, "joint")
        expected = composed(method, batch, mu)
        for name, loss in method.losses(batch).items():
            assert torch.allclose(loss, expected[name]), name
        assert expected["metric"] > 0


def test_mu_zero_is_the_one_way_loss(tiny: Tiny) -> None:
    one_way, batch = ready(tiny("method=retdm_oneway", *OPTIONS))
    mu_zero, _ = ready(tiny("method=retdm", *OPTIONS, "method.mu=0"))
    both, _ = ready(tiny("method=retdm", *OPTIONS))
    values = []
    for method in (one_way, mu_zero, both):
        at_stage(method, "joint")
        values.append(method.losses(batch)["metric"])
    assert isinstance(one_way, RETDM)
    ways = two_way_terms(
        one_way.encoder(batch),
        one_way.label_net(batch.target),
        batch.target,
        k=3,
        unit=2.5,
        temperature=0.7,
        violation=0.4,
        seed=draw_seed(0, 0),
        frequency=one_way.frequency[batch.index],
    )
    assert torch.allclose(values[0], ways.way1)
    assert torch.equal(values[0], values[1])
    assert torch.allclose(values[2], ways.way1 + ways.way2)
    assert ways.way2 > 0


def test_incomplete_rows_are_neither_anchor_nor_rival(tiny: Tiny) -> None:
    method, batch = ready(tiny("method=retdm", *OPTIONS, "method.rival_image=first"))
    at_stage(method, "joint")
    known = batch.known.clone()
    known[::3, 0] = False
    whole = known.all(dim=1)
    half = Batch(*(column[whole] for column in tensors_of(batch).values()))
    masked = batch._replace(known=known, target=batch.target * known)
    assert torch.allclose(method.losses(masked)["metric"], method.losses(half)["metric"], rtol=1e-4)


def test_the_unit_is_the_mean_distance_of_training_embeddings_from_their_mean(tiny: Tiny) -> None:
    method, _ = ready(tiny("method=retdm", "method.embedding_dim=6"))
    assert isinstance(method, RETDM)
    data: Any = method.trainer.datamodule  # type: ignore[attr-defined]
    method.eval()
    batches = [method.on_after_batch_transfer(batch, 0) for batch in data.split_loader("train")]

    def never() -> Iterator[Batch]:
        raise AssertionError("read images that it does not need")
        yield batches[0]

    at_stage(method, "classification")
    method.on_stage_start(method.stage, never())
    assert method.unit == 1
    at_stage(method, "label_embedding")
    method.on_stage_start(method.stage, iter(batches))

    embeddings = [embedding.double() for batch in batches for embedding in method.encoder(batch)]
    mean = sum(embeddings) / len(embeddings)
    spread = sum(((embedding - mean) ** 2).sum().sqrt().item() for embedding in embeddings) / len(embeddings)
    assert method.unit.item() == pytest.approx(spread, rel=1e-4)
    at_stage(method, "joint")
    method.on_stage_start(method.stage, never())  # once measured it stays
    assert "unit" in method.state_dict()


def test_a_unit_that_is_a_number_is_not_measured(tiny: Tiny) -> None:
    method, _ = ready(tiny("method=retdm", "method.unit=2.5"))
    at_stage(method, "label_embedding")
    method.on_stage_start(method.stage, iter([]))
    assert isinstance(method, RETDM)
    assert method.unit == 2.5


def test_the_pool_of_all_training_sets_is_the_batchs_where_the_batch_holds_all_training_rows(tiny: Tiny) -> None:
    values = {}
    for pool in ("batch", "train"):
        for size in (100, 8):
            more = ("method.k=10", f"method.pool={pool}", f"data.batch_size={size}")
            method, batch = ready(tiny("method=retdm", *OPTIONS, *more))
            at_stage(method, "joint")
            values[pool, size] = method.losses(batch)["metric"].item()
    assert values["train", 100] == pytest.approx(values["batch", 100], rel=1e-5)
    assert values["train", 8] != pytest.approx(values["batch", 8], rel=1e-3)


def test_of_many_training_sets_only_those_near_the_batch_are_embedded(tiny: Tiny) -> None:
    more = ("method.k=1", "method.pool=train", "data.batch_size=4")
    method, batch = ready(tiny("method=retdm", *OPTIONS, *more))
    assert isinstance(method, RETDM)
    at_stage(method, "joint")
    sets = method.train_sets
    assert len(sets) > len(batch.target) * method.k
    image, label = method.encoder(batch), method.label_net(batch.target)
    expected = two_way_terms(
        image,
        label,
        batch.target,
        k=1,
        unit=2.5,
        temperature=0.7,
        violation=0.4,
        seed=method.loss_seed,
        frequency=method.frequency[batch.index],
        sets=sets,
        set_embedding=method.embed_label_sets(sets),
        set_frequency=method.train_counts,
    )
    assert torch.allclose(method.losses(batch)["metric"], expected.way1 + method.mu * expected.way2)
    assert expected.way1 > 0


def test_label_net_and_reconstruction_have_the_papers_shape(tiny: Tiny) -> None:
    method, _ = ready(tiny("method=retdm", "method.embedding_dim=6"))
    assert isinstance(method, RETDM)
    shapes = [tuple(p.shape) for p in method.label_net.parameters()]
    assert shapes == [(6, 5), (6,), (6, 6), (6,)]
    assert method.reconstruction.weight.shape == (5, 6)
    assert method.encoder.width == method.classifier.in_features == 6


def test_the_ratio_of_gradients_is_logged_when_a_stage_with_the_metric_starts(
    tiny: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    method, batch = ready(tiny("method=retdm", "method.embedding_dim=6", "method.weights.metric=1000"))
    method.train()
    caplog.set_level(logging.INFO, "retdm")
    for stage in ("label_embedding", "joint"):
        at_stage(method, stage)
        method.stage_step = 0
        caplog.clear()
        for _ in range(2):
            method.training_step(batch, 0)
        logged = [record for record in caplog.records if f"stage {stage} starts" in record.message]
        assert len(logged) == 1  # not again in the second step
        warned = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(warned) == (stage == "joint")  # only there does the metric's gradient reach the image net


def test_no_ratio_warns_where_the_classification_has_nothing_left_to_learn(
    tiny: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    method, batch = ready(tiny("method=retdm", "method.embedding_dim=6", "method.weights.metric=1000"))
    method.train()
    caplog.set_level(logging.INFO, "retdm")
    target = batch.target[0]
    with torch.no_grad():  # certain of the label set that the whole batch then has
        method.classifier.bias.copy_(40 * target - 20)  # type: ignore[union-attr]
    at_stage(method, "joint")
    method.training_step(batch._replace(target=target.expand_as(batch.target).clone()), 0)
    assert any("stage joint starts" in record.message for record in caplog.records)
    assert "times the classification's" not in caplog.text


def test_embeddings_that_are_all_alike_are_no_unit(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    method, batch = ready(tiny("method=retdm", "method.embedding_dim=6"))
    caplog.set_level(logging.INFO, "retdm")
    at_stage(method, "label_embedding")
    alike = batch._replace(image=batch.image[:1].expand_as(batch.image))
    method.on_stage_start(method.stage, iter([alike]))
    assert method.unit == 1
    assert "all alike" in caplog.text
    method.on_stage_start(method.stage, iter([batch]))  # the next stage measures again
    assert method.unit != 1


def test_a_row_with_an_unknown_label_is_no_set_of_the_train_pool(tiny: Tiny) -> None:
    method, _ = ready(tiny("method=retdm", "method.pool=train"))
    data: Any = method.trainer.datamodule  # type: ignore[attr-defined]
    train, targets = data.splits["train"], data.source.targets
    targets[train] = 0
    targets[train[:2], :2] = [[1, 0], [1, 1]]
    data.source.known[train[1], 4] = False
    method.use_training_labels(data.training_labels())
    assert method.train_sets.tolist() == [[0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]
    assert method.train_counts.tolist() == [len(train) - 2, 1]
    data.source.known[:] = False  # then there is none, and no rival
    method.use_training_labels(data.training_labels())
    at_stage(method, "joint")
    batch = method.on_after_batch_transfer(next(iter(data.train_loader())), 0)
    loss = method.losses(batch)["metric"]
    assert loss == 0 and loss.requires_grad


def test_diagnostics_of_the_metric_end_with_the_stage_that_has_one(tiny: Tiny) -> None:
    method, batch = ready(tiny("method=retdm"))
    at_stage(method, "joint")
    method.losses(batch)
    assert method.diagnostics["own_distance"] > 0
    at_stage(method, "classification")
    assert method.diagnostics == {}


def test_reduction_sum_is_the_mean_times_the_number_of_labels(tiny: Tiny) -> None:
    mean, batch = ready(tiny("method=retdm"))
    total, _ = ready(tiny("method=retdm", "method.reduction=sum"))
    assert torch.allclose(5 * mean.losses(batch)["classification"], total.losses(batch)["classification"])


# A trained run


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_no_two_scores_of_a_trained_run_tie(tiny_run: Path, autocast: torch.dtype | None) -> None:
    model = retdm.load(tiny_run)
    model.method.encoder.autocast = autocast
    rng = np.random.default_rng(0)
    scores = model.predict(list(rng.integers(0, 256, (60, 18, 18, 3), dtype=np.uint8)))
    assert len(np.unique(scores)) == scores.size == 300
    saved = np.load(tiny_run / "predictions.npz")["scores"]
    assert len(np.unique(saved)) == saved.size
