"""Multiple-instance networks: on bags, on images' regions, and as runs."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import in_process
from torch import Tensor

import retdm
from retdm.backbones import NoBackbone
from retdm.backbones.vgg import VGGSmall
from retdm.batch import BagBatch, Batch, tensors_of
from retdm.commands.train import train
from retdm.errors import UserError
from retdm.losses import binary_cross_entropy
from retdm.methods.deep import DeepMethod
from retdm.methods.networks.abmil import ABMIL
from retdm.methods.networks.mil import MIL
from retdm.methods.networks.mil_attention import MILAttention
from retdm.methods.stage import Stage
from retdm.settings.compose import compose_settings
from retdm.stop import Stopped
from retdm.training.stages import Stages

LABELS = ["a", "b", "c"]
END_TO_END = {"name": "end_to_end", "train": ["encoder", "classifier"], "losses": ["classification"]}
STAGES: list[dict[str, Any]] = [{**END_TO_END, "lr": 0.1, "max_epochs": 1}]
ATTENDING = [{**STAGES[0], "train": ["encoder", "attention", "classifier"]}]
NETS: dict[str, Callable[..., DeepMethod]] = {
    "mil": lambda *given, **more: MIL(*given, **more, stages=STAGES),
    "mil, noisy or": lambda *given, **more: MIL(*given, pooling="noisy_or", **more, stages=STAGES),
    "mil, embeddings": lambda *given, **more: MIL(*given, pooling="mean", space="embeddings", **more, stages=STAGES),
    "mil_attention": lambda *given, **more: MILAttention(*given, **more, stages=ATTENDING),
    "abmil": lambda *given, **more: ABMIL(*given, **more, stages=ATTENDING),
}


def witnesses(n: int = 90, seed: int = 0) -> tuple[BagBatch, Tensor]:
    """Bags of 1 to 5 instances of 6 features, and the instances' labels (n, 5, 3): one has each label of its bag."""
    rng = np.random.default_rng(seed)
    target = rng.random((n, 3)) < 0.4
    sizes = rng.integers(1, 6, n)
    bag = rng.normal(0, 0.6, (n, 5, 6))
    positive = np.zeros((n, 5, 3), bool)
    for i, label in np.argwhere(target):
        positive[i, rng.integers(sizes[i]), label] = True
    bag[..., :3] += 3 * positive
    mask = np.arange(5) < sizes[:, None]
    known = torch.ones(n, 3, dtype=torch.bool)
    rows = torch.from_numpy(bag * mask[..., None]).float()
    return BagBatch(torch.arange(n), rows, torch.from_numpy(mask), torch.from_numpy(target).float(), known), (
        torch.from_numpy(positive)
    )


def images(n: int = 4, side: int = 18) -> Batch:
    generator = torch.Generator().manual_seed(0)
    known = torch.ones(n, 3, dtype=torch.bool)
    return Batch(torch.arange(n), torch.randn(n, 3, side, side, generator=generator), known.float(), known)


def net(name: str, backbone: Any = None, **more: Any) -> Any:
    torch.manual_seed(0)
    return NETS[name](NoBackbone(6) if backbone is None else backbone, LABELS, **more)


# On bags


@pytest.mark.parametrize("name", NETS)
def test_a_network_finds_the_labels_of_bags_and_the_instances_that_have_them(name: str) -> None:
    method, (batch, _) = net(name), witnesses()
    method.encoder.set_moments(batch.bag[batch.mask].mean(0), batch.bag[batch.mask].std(0))
    method.on_stage_start(method.stages[0], iter([batch]))
    optimizer = torch.optim.SGD(method.parameters(), lr=0.2, momentum=0.9)
    for _ in range(80):
        optimizer.zero_grad()
        method.losses(batch)["classification"].backward()
        optimizer.step()
    unseen, positive = witnesses(60, seed=1)
    with torch.no_grad():
        scores, found = method.scores(unseen), method.instance_scores(unseen)
    right = (scores >= 0.5).float() == unseen.target
    assert right.float().mean() > 0.9
    assert found.shape == positive.shape
    assert found.min() >= 0 and found.max() <= 1
    assert found[~unseen.mask].eq(0).all()
    apart = found[positive].mean() - found[~positive & unseen.mask[..., None]].mean()
    assert apart > 0.4


@pytest.mark.parametrize("view", ["bags", "grid", "cells"])
def test_attention_shares_a_score_among_given_instances_and_crops_and_not_among_cells(
    view: str,
) -> None:
    backbone = None if view == "bags" else VGGSmall(channels=[8, 8])
    method = net("mil_attention", backbone, instances="cells" if view == "bags" else view).eval()
    batch: Any = witnesses()[0] if view == "bags" else images()
    with torch.no_grad():
        found, scores = method.instance_scores(batch), method.scores(batch)
        own = method.classifier.instance_logits(method.encoder.instances(batch)[0]).sigmoid()
    if view == "cells":
        assert torch.equal(found, own)
    else:
        assert torch.allclose(found.sum(1), scores, atol=1e-6)
        assert not torch.allclose(found, own, atol=0.01)


@pytest.mark.parametrize("name", NETS)
def test_a_bags_scores_are_its_own_however_wide_the_batch_is(name: str) -> None:
    method, (batch, _) = net(name).eval(), witnesses(12)
    dirty = torch.where(batch.mask[..., None], batch.bag, 1e4)
    wide = batch._replace(
        bag=torch.cat([dirty, torch.full((12, 2, 6), -7.0)], 1),
        mask=torch.cat([batch.mask, torch.zeros(12, 2, dtype=torch.bool)], 1),
    )
    with torch.no_grad():
        scores, losses = method.scores(batch), method.losses(batch)
        assert torch.allclose(method.scores(wide), scores, atol=1e-6)
        assert torch.allclose(method.losses(wide)["classification"], losses["classification"])
        for i in range(12):
            here = batch.mask[i]
            alone = BagBatch(*(column[i : i + 1] for column in tensors_of(batch).values()))
            alone = alone._replace(bag=batch.bag[i][here][None], mask=here[here][None])
            assert torch.allclose(method.scores(alone)[0], scores[i], atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_the_loss_is_cross_entropy_of_known_cells(name: str) -> None:
    method, (batch, _) = net(name), witnesses(12)
    batch.known[::2, 1] = False
    _, logits = method.embed_and_classify(batch)
    expected = binary_cross_entropy(logits, batch.target, batch.known)
    assert torch.equal(method.losses(batch)["classification"], expected)
    assert torch.allclose(method.scores(batch), logits.sigmoid())


def test_embeddings_are_the_mean_of_a_bags_own_instances() -> None:
    method, (batch, _) = net("mil"), witnesses(5)
    embedding, _ = method.embed_and_classify(batch)
    for i in range(5):
        rows = method.encoder.layers(batch.bag[i][batch.mask[i]])
        assert torch.allclose(embedding[i], rows.mean(0), atol=1e-6)


@pytest.mark.parametrize(("asked", "width"), [(None, 128), (7, 7)])
def test_instances_of_bags_pass_two_layers(asked: int | None, width: int) -> None:
    shapes = [tuple(p.shape) for p in net("mil", embedding_dim=asked).encoder.parameters()]
    assert shapes == [(width, 6), (width,), (width, width), (width,)]


def test_noisy_or_begins_with_bags_as_unsure_as_their_instances_are_many() -> None:
    method, (batch, _) = net("mil, noisy or"), witnesses()
    method.on_stage_start(method.stages[0], iter([batch]))
    size = batch.mask.sum(1).double().mean().item()
    assert method.classifier.linear.bias.tolist() == pytest.approx([-np.log(size)] * 3, rel=1e-5)
    before = method.classifier.linear.bias.clone()
    method.on_stage_start(Stage(**{**STAGES[0], "name": "later"}), iter(()))
    assert torch.equal(method.classifier.linear.bias, before)
    other = net("mil")
    other.on_stage_start(other.stages[0], iter(()))  # reads no batch


# On images


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("instances", "regions"), [("cells", 16), ("grid", 4)])
def test_images_are_bags_of_their_regions(name: str, instances: str, regions: int) -> None:
    method = net(name, VGGSmall(channels=[8, 8]), instances=instances, grid=2).eval()
    batch = images()
    with torch.no_grad():
        found = method.instance_scores(batch)
        rows, mask = method.encoder.instances(batch)
        as_bags = method.classifier(rows, mask).sigmoid()
    assert found.shape == (4, regions, 3)
    assert mask.all()
    assert torch.allclose(method.scores(batch), as_bags)


def test_pooled_by_the_maximum_an_image_scores_as_its_best_cell() -> None:
    method = net("mil", VGGSmall(channels=[8, 8])).eval()
    with torch.no_grad():
        found = method.instance_scores(images())
        assert torch.allclose(found.amax(1), method.scores(images()))


def test_a_method_on_bags_has_its_own_head() -> None:
    with pytest.raises(UserError, match="method.head=csra") as error:
        net("abmil", head="csra")
    assert error.value.hint


# Runs


@pytest.fixture
def bag_file(tmp_path: Path) -> Path:
    batch, _ = witnesses()
    mask = batch.mask.numpy()
    file = tmp_path / "mine.npz"
    np.savez(
        file,
        instances=batch.bag.numpy()[mask],
        offsets=np.concatenate([[0], np.cumsum(mask.sum(1))]),
        targets=batch.target.numpy(),
        names=LABELS,
    )
    return file


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def settings_for(file: Path, method: str, *more: str) -> dict[str, Any]:
    return compose_settings(
        [
            "data=bags",
            f"data.file={file}",
            "data.batch_size=16",
            f"method={method}",
            "method.embedding_dim=8",
            "schedule=short",
            "trainer.accelerator=cpu",
            f"outputs={file.parent}",
            *more,
        ]
    )


@pytest.mark.parametrize("name", ["mil", "mil_attention", "abmil"])
def test_a_run_on_bags_is_evaluated_again_to_the_last_bit_and_predicts(bag_file: Path, name: str) -> None:
    folder = train(settings_for(bag_file, name))
    drawn = {path.name.removesuffix("-end_to_end.png") for path in (folder / "pictures").iterdir()}
    assert drawn == {"embedding", "labels", "precision_recall"}  # a bag has no picture of its own
    report = json.loads((folder / "metrics.json").read_text())
    assert in_process("test.py", f"run={folder}").code == 0
    again = json.loads((folder / "test.json").read_text())
    for key in ("test", "test_validation_threshold", "validation", "per_label", "threshold"):
        assert again[key] == report[key]
    rows = np.load(folder / "predictions.npz")
    model, (batch, _) = retdm.load(folder), witnesses()
    assert model.dim == 6
    scores = model.predict([batch.bag[i][batch.mask[i]].numpy() for i in rows["index"]])
    np.testing.assert_allclose(scores, rows["scores"], atol=1e-6)


def test_a_run_on_bags_that_was_stopped_ends_as_if_it_had_not_been(
    bag_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("method.pooling=noisy_or", "schedule.end_to_end.max_epochs=2")
    ends = []
    for stopped in (False, True):
        settings = settings_for(bag_file, "mil", *more, f"run={bag_file.parent / f'stopped-{stopped}'}")
        if stopped:
            original = Stages.on_train_batch_end

            def hook(self: Stages, trainer: Any, *rest: Any, original: Any = original) -> None:
                original(self, trainer, *rest)
                if trainer.global_step == 6:  # of 8
                    os.kill(os.getpid(), signal.SIGTERM)

            with monkeypatch.context() as patch:
                patch.setattr(Stages, "on_train_batch_end", hook)
                with pytest.raises(Stopped):
                    train(settings)
        folder = train(settings)
        ends.append(torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True))
    one, other = ends
    assert one["global_step"] == other["global_step"] == 8
    assert all(torch.equal(one["state_dict"][key], other["state_dict"][key]) for key in one["state_dict"])
