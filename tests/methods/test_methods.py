"""Every deep method of conf/method that takes images keeps these promises; a new one is under test with its YAML."""

import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning import Trainer
from torch import Tensor, nn

import retdm
from retdm.batch import Batch
from retdm.errors import UserError
from retdm.losses import binary_cross_entropy, squared_error, two_way_metric, two_way_terms
from retdm.methods.base import draw_seed
from retdm.methods.deep import DeepMethod
from retdm.methods.networks.retdm import RETDM
from retdm.registry import CONF, resolve
from retdm.runs.build import build_data, build_method
from retdm.settings.run_settings import RunSettings

Ready = Callable[..., tuple[DeepMethod, Batch]]


def _deep_methods() -> Iterator[str]:
    for file in sorted((CONF / "method").glob("*.yaml")):
        content = yaml.safe_load(file.read_text())
        while "_target_" not in content:  # a variant: its first default has the class
            content = yaml.safe_load((CONF / "method" / f"{content['defaults'][0]}.yaml").read_text())
        found = resolve(content["_target_"])
        if issubclass(found, DeepMethod) and Batch in found.takes:
            yield file.stem


METHODS = list(_deep_methods())


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    before = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(before)


@pytest.fixture
def ready(tiny: Callable[..., RunSettings]) -> Ready:
    """A method as it stands when a fit begins, and its first training batch."""

    def make(*overrides: str, backbone: dict[str, Any] | None = None) -> tuple[DeepMethod, Batch]:
        settings = tiny(*overrides)
        settings = settings.changed(backbone=backbone or settings.backbone, recorded={})  # its weights are no file
        data = build_data(settings)
        method = build_method(settings, data.labels)
        trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        trainer.datamodule = data  # type: ignore[attr-defined]
        method.trainer = trainer
        trainer.strategy.optimizers = [method.configure_optimizers()]
        method.use_training_labels(data.training_labels())
        batch = next(iter(data.train_loader()))
        return method, method.on_after_batch_transfer(batch, 0)

    return make


def stages_of(name: str) -> list[dict[str, Any]]:
    """As the method's YAML, or that of the method it is a variant of, names them."""
    content = yaml.safe_load((CONF / "method" / f"{name}.yaml").read_text())
    return content["stages"] if "stages" in content else stages_of(content["defaults"][0])  # type: ignore[no-any-return]


def last_part(name: str) -> str:
    """The last part of the last stage."""
    return str(stages_of(name)[-1]["train"][-1])


def at_stage(method: DeepMethod, name: str) -> None:
    method.set_stage(next(stage for stage in method.stages if stage.name == name), 0.1)


# What every method promises


@pytest.mark.parametrize("name", METHODS)
def test_each_stage_has_finite_losses_by_name_and_their_total_is_the_weighted_sum(ready: Ready, name: str) -> None:
    method, batch = ready(f"method={name}")
    method.weights = {term: 0.3 + 0.5 * i for i, term in enumerate(method.loss_names)}
    for stage in method.stages:
        method.set_stage(stage, 0.1)
        losses = method.losses(batch)
        assert method.active == list(stage.losses)
        assert set(method.active) <= set(losses) <= set(method.loss_names)
        assert all(value.ndim == 0 and value.isfinite() and value >= 0 for value in losses.values())
        expected = sum(method.weights[term] * losses[term].item() for term in stage.losses)
        assert method.total(losses).item() == pytest.approx(expected, rel=1e-5)
        step = method.training_step(batch, 0)
        assert set(step["losses"]) == set(stage.losses)
        assert not any(loss.requires_grad for loss in step["losses"].values())


@pytest.mark.parametrize("name", METHODS)
def test_the_validation_loss_is_a_function_of_weights_and_data_alone(
    ready: Ready, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, batch = ready(f"method={name}")
    method.set_stage(method.stages[-1], 0.1)
    method.eval()
    found = set()
    for step in range(5):
        monkeypatch.setattr(type(method), "global_step", step)
        torch.manual_seed(step)
        found.add(method.validation_step(batch, 0)["loss"].item())
    assert len(found) == 1


@pytest.mark.parametrize("name", METHODS)
def test_a_loss_of_weight_zero_is_switched_off(ready: Ready, name: str) -> None:
    method, _ = ready(f"method={name}")
    for stage, term in itertools.product(method.stages, method.loss_names):
        method.set_stage(stage, 0.1)
        method.weights = dict.fromkeys(method.loss_names, 1.0) | {term: 0.0}
        assert method.active == [loss for loss in stage.losses if loss != term]


@pytest.mark.parametrize("name", METHODS)
def test_a_stage_whose_losses_are_all_switched_off_says_so(ready: Ready, name: str) -> None:
    method, batch = ready(f"method={name}")
    method.weights = dict.fromkeys(method.loss_names, 0.0)
    for stage in method.stages:
        method.set_stage(stage, 0.1)
        with pytest.raises(UserError, match=f"stage {stage.name} has nothing to train") as error:
            method.training_step(batch, 0)
        assert f"schedule.{stage.name}.max_epochs=0" in error.value.hint


@pytest.mark.parametrize("name", METHODS)
def test_parts_that_a_stage_does_not_train_get_no_gradient_and_are_in_evaluation_mode(ready: Ready, name: str) -> None:
    method, batch = ready(f"method={name}")
    method.train()
    for stage in method.stages:
        method.set_stage(stage, 0.1)
        method.zero_grad()
        method.training_step(batch, 0)["loss"].backward()
        for part, module in method.components.items():
            trains = part in stage.train
            assert {child.training for child in module.modules()} == {trains}, part
            gradients = [parameter.grad for parameter in module.parameters()]
            if trains:
                assert all(gradient is not None for gradient in gradients), part
                assert any(gradient.abs().sum() > 0 for gradient in gradients if gradient is not None), part
            else:
                assert all(gradient is None for gradient in gradients), part
    method.eval()
    assert not any(child.training for child in method.modules())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("weights", ["none", "loaded"])
def test_batchnorm_moves_only_where_the_image_net_trains_and_began_at_random(
    ready: Ready, name: str, weights: str
) -> None:
    method, batch = ready(f"method={name}", backbone={"_target_": "nets.Normed", "weights": weights})
    norm: Any = method.encoder.backbone.net[1]  # type: ignore[index]
    method.train()
    for stage in method.stages:
        method.set_stage(stage, 0.1)
        before = norm.running_mean.clone()
        method.training_step(batch, 0)
        moves = weights == "none" and "encoder" in stage.train
        assert norm.training == moves
        assert torch.equal(norm.running_mean, before) != moves


@pytest.mark.parametrize("name", METHODS)
def test_the_optimiser_holds_every_parameter_once_in_the_group_of_its_part(ready: Ready, name: str) -> None:
    method, _ = ready(f"method={name}")
    (optimizer,) = method.trainer.strategy.optimizers
    groups = {group["name"]: group["params"] for group in optimizer.param_groups}
    assert list(groups) == list(method.components)
    held = [id(parameter) for group in groups.values() for parameter in group]
    assert len(held) == len(set(held))
    assert set(held) == {id(parameter) for parameter in method.parameters()}
    for part, module in method.components.items():
        assert {id(parameter) for parameter in module.parameters()} == {id(parameter) for parameter in groups[part]}


@pytest.mark.parametrize("name", METHODS)
def test_each_parts_rate_is_the_stages_times_its_factor(ready: Ready, name: str) -> None:
    last = last_part(name)
    method, _ = ready(f"method={name}", f"+method.lr_factor.{last}=10")
    method.set_stage(method.stages[0], 0.02)
    (optimizer,) = method.trainer.strategy.optimizers
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {part: pytest.approx(0.2 if part == last else 0.02) for part in method.components}


@pytest.mark.parametrize("name", METHODS)
def test_the_gradient_of_a_part_is_clipped_to_its_norm(ready: Ready, name: str) -> None:
    method, batch = ready(f"method={name}")
    method.set_stage(method.stages[-1], 0.1)
    last = last_part(name)
    method.clip = {last: 1e-3}
    method.training_step(batch, 0)["loss"].backward()

    def norm(part: nn.Module) -> float:
        return sum(p.grad.square().sum().item() for p in part.parameters() if p.grad is not None) ** 0.5

    encoder = norm(method.encoder)
    method.on_before_optimizer_step(method.trainer.strategy.optimizers[0])
    assert norm(method.components[last]) == pytest.approx(1e-3, rel=1e-3)
    assert norm(method.encoder) == encoder > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_scores_are_probabilities_of_each_image_alone(ready: Ready, name: str) -> None:
    method, batch = ready(f"method={name}")
    method.eval()
    with torch.inference_mode():
        scores = method.scores(batch)
        alone = method.scores(Batch(*(column[:1] for column in batch)))
    assert scores.shape == batch.target.shape
    assert scores.dtype == torch.float32
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert torch.allclose(scores[:1], alone, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_only_the_backbone_computes_in_bfloat16(ready: Ready, name: str) -> None:
    method, batch = ready(f"method={name}", "trainer.precision=bf16-mixed")
    backbone = method.encoder.backbone
    inside, outside = set(), set()

    def remember(place: set[torch.dtype]) -> Callable[..., None]:
        return lambda module, inputs, output: place.add((output[0] if isinstance(output, tuple) else output).dtype)

    for module in method.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(remember(inside))
        elif not list(module.children()) and not any(module is child for child in backbone.modules()):
            module.register_forward_hook(remember(outside))
    for stage in method.stages:
        method.set_stage(stage, 0.1)
        losses = method.losses(batch)
        assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert method.scores(batch).dtype == torch.float32
    assert inside == {torch.bfloat16}
    assert outside == {torch.float32}
    assert {parameter.dtype for parameter in method.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", METHODS)
def test_images_are_normalised_by_the_backbones_transform(ready: Ready, name: str) -> None:
    method, _ = ready(f"method={name}")
    image = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    transform = method.encoder.backbone.transform
    for channel, (mean, deviation) in enumerate(zip(transform.mean, transform.std, strict=True)):
        expected = (image[:, channel].double() / 255 - mean) / deviation
        assert torch.allclose(method.normalised(image)[:, channel].double(), expected, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_draws_the_same_whatever_was_drawn_before_it(ready: Ready, name: str) -> None:
    method, batch = ready(f"method={name}")
    method.train()
    at_stage(method, method.stages[-1].name)
    first = method.training_step(batch, 0)["loss"]
    torch.rand(7)
    assert torch.equal(method.training_step(batch, 0)["loss"], first)


@pytest.mark.parametrize("name", METHODS)
def test_building_a_method_leaves_the_callers_random_numbers_alone(tiny: Callable[..., RunSettings], name: str) -> None:
    settings = tiny(f"method={name}")
    torch.manual_seed(12)
    expected = torch.rand(1)
    torch.manual_seed(12)
    one = build_method(settings, ["a", "b"])
    assert torch.equal(torch.rand(1), expected)
    two = build_method(settings, ["a", "b"])
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))
    other = build_method(settings.changed(seed=1), ["a", "b"])
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


@pytest.mark.parametrize("name", ["bce", "retdm"])  # what the base class checks, with one loss and with several
@pytest.mark.parametrize(
    "overrides, message",
    [
        (["+method.weights.metrik=1"], "method.weights.metrik: there is no such loss"),
        (["++method.weights.TERM=-1"], "method.weights.TERM=-1 is out of range"),
        (["+method.clip.head=1"], "method.clip names head"),
        (["+method.clip.encoder=0"], "method.clip.encoder=0 is out of range"),
        (["+method.lr_factor.head=1"], "method.lr_factor names head"),
        (["+method.lr_factor.encoder=-1"], "method.lr_factor.encoder=-1 is out of range"),
        (["+method.lr_factor={encoder.backbone.head:1}"], "method.lr_factor names encoder.backbone.head"),
    ],
)
def test_a_setting_that_cannot_be_is_named(ready: Ready, name: str, overrides: list[str], message: str) -> None:
    term = stages_of(name)[0]["losses"][0]
    overrides, message = [override.replace("TERM", term) for override in overrides], message.replace("TERM", term)
    with pytest.raises(UserError, match=message) as error:
        ready(f"method={name}", *overrides)
    assert error.value.hint


@pytest.mark.parametrize("key, of", [("train", "components"), ("losses", "loss_names")])
@pytest.mark.parametrize("name", METHODS)
def test_a_stage_that_names_what_the_method_lacks_is_an_error_that_lists_what_there_is(
    tiny: Callable[..., RunSettings], name: str, key: str, of: str
) -> None:
    settings = tiny(f"method={name}")
    method = build_method(settings, ["a"])
    settings.method["stages"][-1][key] = ["unheard_of"]
    stage = settings.method["stages"][-1]["name"]
    with pytest.raises(UserError, match=f"stage {stage}: {key} names unheard_of") as error:
        build_method(settings, ["a"])
    assert all(there in error.value.hint for there in getattr(method, of))


# RETDM's own


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


def test_retdm_losses_are_those_of_the_formulas(ready: Ready) -> None:
    for mu in (1.0, 0.25):
        method, batch = ready("method=retdm", *OPTIONS, f"method.mu={mu}")
        assert isinstance(method, RETDM)
        at_stage(method, "joint")
        expected = composed(method, batch, mu)
        for name, loss in method.losses(batch).items():
            assert torch.allclose(loss, expected[name]), name
        assert expected["metric"] > 0


def test_mu_zero_is_the_one_way_loss(ready: Ready) -> None:
    one_way, batch = ready("method=retdm_oneway", *OPTIONS)
    mu_zero, _ = ready("method=retdm", *OPTIONS, "method.mu=0")
    both, _ = ready("method=retdm", *OPTIONS)
    values = []
    for method in (one_way, mu_zero, both):
        at_stage(method, "joint")
        values.append(method.losses(batch)["metric"])
    assert isinstance(one_way, RETDM)
    terms = two_way_terms(
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
    assert torch.allclose(values[0], terms.way1)
    assert torch.equal(values[0], values[1])
    assert torch.allclose(values[2], terms.way1 + terms.way2)
    assert terms.way2 > 0


def test_incomplete_rows_are_neither_anchor_nor_rival(ready: Ready) -> None:
    method, batch = ready("method=retdm", *OPTIONS, "method.rival_image=first")
    at_stage(method, "joint")
    known = batch.known.clone()
    known[::3, 0] = False
    whole = known.all(dim=1)
    half = Batch(*(column[whole] for column in batch))
    masked = batch._replace(known=known, target=batch.target * known)
    assert torch.allclose(method.losses(masked)["metric"], method.losses(half)["metric"], rtol=1e-4)


def test_the_unit_is_the_mean_distance_of_training_embeddings_from_their_mean(ready: Ready) -> None:
    method, _ = ready("method=retdm", "method.embedding_dim=6")
    assert isinstance(method, RETDM)
    data: Any = method.trainer.datamodule  # type: ignore[attr-defined]
    method.eval()
    batches = [method.on_after_batch_transfer(batch, 0) for batch in data.split_loader("train")]

    def never() -> Iterator[Batch]:
        raise AssertionError("read images for nothing")
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


def test_a_unit_that_is_a_number_is_not_measured(ready: Ready) -> None:
    method, _ = ready("method=retdm", "method.unit=2.5")
    at_stage(method, "label_embedding")
    method.on_stage_start(method.stage, iter([]))
    assert isinstance(method, RETDM)
    assert method.unit == 2.5


def test_the_pool_of_all_training_sets_is_the_batchs_where_the_batch_holds_all_training_rows(ready: Ready) -> None:
    values = {}
    for pool in ("batch", "train"):
        for size in (100, 8):
            method, batch = ready(
                "method=retdm", *OPTIONS, "method.k=10", f"method.pool={pool}", f"data.batch_size={size}"
            )
            at_stage(method, "joint")
            values[pool, size] = method.losses(batch)["metric"].item()
    assert values["train", 100] == pytest.approx(values["batch", 100], rel=1e-5)
    assert values["train", 8] != pytest.approx(values["batch", 8], rel=1e-3)


def test_label_net_and_reconstruction_have_the_papers_shape(ready: Ready) -> None:
    method, _ = ready("method=retdm", "method.embedding_dim=6")
    assert isinstance(method, RETDM)
    shapes = [tuple(p.shape) for p in method.label_net.parameters()]
    assert shapes == [(6, 5), (6,), (6, 6), (6,)]
    assert method.reconstruction.weight.shape == (5, 6)
    assert method.encoder.width == method.classifier.in_features == 6


def test_the_ratio_of_gradients_is_told_when_a_stage_with_the_metric_starts(
    ready: Ready, caplog: pytest.LogCaptureFixture
) -> None:
    method, batch = ready("method=retdm", "method.embedding_dim=6", "method.weights.metric=1000")
    method.train()
    caplog.set_level(logging.INFO, "retdm")
    for stage in ("label_embedding", "joint"):
        at_stage(method, stage)
        method.stage_step = 0
        caplog.clear()
        for _ in range(2):
            method.training_step(batch, 0)
        told = [record for record in caplog.records if f"stage {stage} starts" in record.message]
        assert len(told) == 1  # not again in the second step
        warned = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(warned) == (stage == "joint")  # only there does the metric's gradient reach the image net


def test_no_ratio_warns_where_the_classification_has_nothing_left_to_learn(
    ready: Ready, caplog: pytest.LogCaptureFixture
) -> None:
    method, batch = ready("method=retdm", "method.embedding_dim=6", "method.weights.metric=1000")
    method.train()
    caplog.set_level(logging.INFO, "retdm")
    target = batch.target[0]
    with torch.no_grad():  # certain of the label set that the whole batch then has
        method.classifier.bias.copy_(40 * target - 20)  # type: ignore[union-attr]
    at_stage(method, "joint")
    method.training_step(batch._replace(target=target.expand_as(batch.target).clone()), 0)
    assert any("stage joint starts" in record.message for record in caplog.records)
    assert "times the classification's" not in caplog.text


def test_embeddings_that_are_all_alike_are_no_unit(ready: Ready, caplog: pytest.LogCaptureFixture) -> None:
    method, batch = ready("method=retdm", "method.embedding_dim=6")
    caplog.set_level(logging.INFO, "retdm")
    at_stage(method, "label_embedding")
    alike = batch._replace(image=batch.image[:1].expand_as(batch.image))
    method.on_stage_start(method.stage, iter([alike]))
    assert method.unit == 1
    assert "all alike" in caplog.text
    method.on_stage_start(method.stage, iter([batch]))  # the next stage looks again
    assert method.unit != 1


def test_a_row_with_an_unknown_label_is_no_set_of_the_train_pool(ready: Ready) -> None:
    method, _ = ready("method=retdm", "method.pool=train")
    data: Any = method.trainer.datamodule  # type: ignore[attr-defined]
    train, targets = data.splits["train"], data.source.targets
    targets[train] = 0
    targets[train[:2], :2] = [[1, 0], [1, 1]]
    data.source.known[train[1], 4] = False
    method.use_training_labels(data.training_labels())
    assert method.train_sets.tolist() == [[0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]
    assert method.train_counts.tolist() == [len(train) - 2, 1]
    data.source.known[:] = False  # then there is none, and nothing to tell apart
    method.use_training_labels(data.training_labels())
    at_stage(method, "joint")
    batch = method.on_after_batch_transfer(next(iter(data.train_loader())), 0)
    loss = method.losses(batch)["metric"]
    assert loss == 0 and loss.requires_grad


def test_notes_of_the_metric_end_with_the_stage_that_has_one(ready: Ready) -> None:
    method, batch = ready("method=retdm")
    at_stage(method, "joint")
    method.losses(batch)
    assert method.diagnostics["own_distance"] > 0
    at_stage(method, "classification")
    assert method.diagnostics == {}


@pytest.mark.parametrize("name", [name for name in METHODS if name.startswith("retdm")])
def test_reduction_sum_is_the_mean_times_the_number_of_labels(ready: Ready, name: str) -> None:
    mean, batch = ready(f"method={name}")
    total, _ = ready(f"method={name}", "method.reduction=sum")
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
