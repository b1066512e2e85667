"""RETDM where labels are missing: label sets of the labels that are known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from deep_methods import at_stage, ready
from torch import Tensor

import retdm
from retdm.batch import Batch, TrainingLabels
from retdm.commands.train import train
from retdm.data.synthetic.source import Synthetic
from retdm.errors import UserError
from retdm.losses import squared_error, two_way_metric
from retdm.methods.networks.retdm import RETDM
from retdm.runs.build import build_method
from retdm.runs.folder.paths import RunFolder
from retdm.settings.run_settings import RunSettings

Tiny = Callable[..., RunSettings]

OPTIONS = ["method=retdm", "method.k=3", "method.unit=2.5", "method.embedding_dim=6", "method.min_known=0.5"]
HIDDEN = "data.observe=share:.6"


def joint(settings: RunSettings) -> tuple[RETDM, Batch]:
    method, batch = ready(settings)
    assert isinstance(method, RETDM)
    at_stage(method, "joint")
    return method, batch


def frequencies(method: RETDM) -> list[float]:
    """Of each label, among the training rows where it is known and one half row more, by counting."""
    data: Any = method.trainer.datamodule  # type: ignore[attr-defined]
    rows = data.splits["train"]
    columns = zip(data.source.targets[rows].T.tolist(), data.source.known[rows].T.tolist(), strict=True)
    counted = [[t for t, k in zip(*column, strict=True) if k] for column in columns]
    return [(sum(values) + 0.5) / (len(values) + 1) for values in counted]


@pytest.mark.parametrize("pool", ["batch", "train"])
def test_where_everything_is_known_it_is_bitwise_the_loss_of_complete_label_sets(tiny: Tiny, pool: str) -> None:
    found = []
    for share in (1.0, 0.5):
        method, batch = joint(tiny(*OPTIONS, f"method.pool={pool}", f"method.min_known={share}"))
        losses = method.losses(batch)
        losses["metric"].backward()
        weight = method.label_net[0].weight
        assert isinstance(weight, Tensor) and weight.grad is not None
        found.append([*losses.values(), weight.grad])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert found[0][1] > 0


@pytest.mark.parametrize("rival_image", ["first", "random"])
def test_an_unknown_label_stands_in_a_set_with_its_frequency(tiny: Tiny, rival_image: str) -> None:
    method, batch = joint(tiny(*OPTIONS, HIDDEN, f"method.rival_image={rival_image}"))
    sets = batch.target.where(batch.known, torch.tensor(frequencies(method)))
    image, label = method.encoder(batch), method.label_net(sets)
    data: Any = method.trainer.datamodule  # type: ignore[attr-defined]
    cells = np.where(data.source.known, data.source.targets, 2)
    often = [sum((cells[data.splits["train"]] == cells[i]).all(1)) for i in batch.index]
    expected = two_way_metric(
        image,
        label,
        sets,
        k=3,
        unit=2.5,
        temperature=0.2,
        rival_image=rival_image,
        seed=method.loss_seed,
        valid=batch.known.sum(1) >= 3,  # half of five
        frequency=torch.tensor(often),
    )
    losses = method.losses(batch)
    assert losses["metric"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert losses["reconstruction"] == squared_error(method.reconstruction(label), batch.target, batch.known)
    assert 0 < (batch.known.sum(1) >= 3).sum() < len(sets) and expected > 0


@pytest.mark.parametrize("min_known", [0.5, 1.0])
@pytest.mark.parametrize("pool", ["batch", "train"])
def test_what_stands_in_an_unknown_cell_changes_nothing(tiny: Tiny, pool: str, min_known: float) -> None:
    method, batch = joint(tiny(*OPTIONS, HIDDEN, f"method.pool={pool}", f"method.min_known={min_known}"))
    expected = method.losses(batch)
    data: Any = method.trainer.datamodule  # type: ignore[attr-defined]
    labels = data.training_labels()
    noise = torch.randint(0, 2, labels.target.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data.source.targets[~data.source.known] ^= 1
    assert torch.equal(labels.frequency, data.training_labels().frequency)
    method.use_training_labels(labels._replace(target=labels.target.where(labels.known, noise)))
    for other in (1.0, torch.nan):
        changed = method.losses(batch._replace(target=batch.target.where(batch.known, other)))
        assert {name: loss.item() for name, loss in changed.items()} == {n: v.item() for n, v in expected.items()}


def test_the_pool_of_all_training_sets_is_the_batchs_where_the_batch_holds_all_training_rows(tiny: Tiny) -> None:
    values = []
    for pool in ("batch", "train"):
        method, batch = joint(tiny(*OPTIONS, HIDDEN, "data.batch_size=100", f"method.pool={pool}"))
        values.append(method.losses(batch)["metric"].item())
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    assert values[0] > 0
    known = batch.known[batch.known.sum(1) >= 3]
    unknown = (method.train_sets > 0) & (method.train_sets < 1)
    assert method.train_counts.sum() == len(known) > len(method.train_sets)
    assert (method.train_counts[:, None] * unknown).sum() == (~known).sum() > 0


def test_nothing_known_is_no_loss_with_a_graph(tiny: Tiny) -> None:
    method, batch = joint(tiny(*OPTIONS, HIDDEN))
    for losses in (
        method.losses(batch._replace(known=torch.zeros_like(batch.known))),
        method.losses(batch._replace(known=batch.known & (batch.target > 0))),  # no set contradicts another
    ):
        assert losses["metric"] == 0 and losses["metric"].requires_grad


@pytest.mark.parametrize(("labels", "share", "least"), [(10, 0.3, 3), (3, 0.333333333, 1), (7, 0.5, 4), (23, 1.0, 23)])
def test_a_row_has_a_set_where_the_share_of_its_labels_is_known(
    tiny: Tiny, labels: int, share: float, least: int
) -> None:
    method = build_method(tiny("method=retdm", f"method.min_known={share}"), [f"l{j}" for j in range(labels)])
    assert isinstance(method, RETDM)
    known = torch.ones(labels + 1, labels).tril(-1).bool()  # row i knows i labels
    method.use_training_labels(TrainingLabels(known.to(torch.uint8), known, torch.ones(labels + 1).long()))
    assert method.train_counts.sum() == labels + 1 - least


@pytest.mark.parametrize(
    ("complete", "metric", "told"), [(4, 0.1, None), (3, 0.1, "INFO"), (1, 0.1, "WARNING"), (1, 0, None)]
)
def test_how_few_images_take_part_in_the_metric_is_told(
    tiny: Tiny, caplog: pytest.LogCaptureFixture, complete: int, metric: float, told: str | None
) -> None:
    caplog.set_level("INFO")
    method = build_method(tiny("method=retdm", f"method.weights.metric={metric}"), ["a", "b", "c"])
    assert isinstance(method, RETDM)
    known = torch.ones(4, 3).bool()
    known[complete:, 0] = False
    method.use_training_labels(TrainingLabels(torch.ones(4, 3), known, torch.zeros(4).long()))
    said = [record.levelname for record in caplog.records if f"{complete} of 4 training images" in record.message]
    assert said == ([] if told is None else [told])


def test_rows_of_which_too_little_is_known_have_no_label_sets_to_score_by(tiny: Tiny) -> None:
    method = build_method(tiny("method=retdm", "method.score=both", "method.min_known=0.5"), ["a", "b", "c"])
    labels = TrainingLabels(torch.ones(4, 3), torch.eye(4, 3).bool(), torch.zeros(4).long())
    with pytest.raises(UserError, match=r"no training image has 0\.5 of its labels known"):
        method.use_training_labels(labels)  # type: ignore[operator]


def test_a_run_on_known_labels_scores_by_them_and_searches_complete_sets(tiny: Tiny) -> None:
    folder = RunFolder(train(tiny(*OPTIONS, HIDDEN, "method.score=both", "method.pool=train")))
    model = retdm.load(folder.path)
    assert isinstance(model.method, RETDM)
    sets, counts = model.training_sets()
    saved = model.method.train_sets
    complete = ((saved == 0) | (saved == 1)).all(1)
    assert 0 < complete.sum() < len(saved)
    assert np.array_equal(sets, saved[complete] > 0.5) and counts.sum() == model.method.train_counts[complete].sum()
    rows, source = np.load(folder.predictions), Synthetic(60, side=18)
    found = model.predict([source.read(int(i)) for i in rows["index"]])
    assert np.abs(found - rows["scores"]).max() <= 1e-6
    assert ((found > 0) & (found < 1)).all()
