"""Runs that begin at a probe: what they start from, what they average, what a small validation split may choose."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import in_process
from torch import Tensor, nn

from retdm.batch import FeatureBatch
from retdm.commands.train import train
from retdm.decisions import best_threshold
from retdm.errors import UserError
from retdm.methods.components.linear_probe import fit_probe
from retdm.methods.components.standardise import standardised
from retdm.methods.deep import DeepMethod
from retdm.runs.build import build_data, build_method, features_of
from retdm.runs.folder.paths import RunFolder
from retdm.runs.folder.rows import OUT_OF_FOLD, read_chosen_on
from retdm.runs.start import average_with_start, start_at_frequencies
from retdm.settings.compose import compose_settings
from retdm.settings.run_settings import RunSettings
from retdm.training.evaluation import threshold_on
from retdm.training.inference import predict

Tiny = Callable[..., RunSettings]
FINE = ["schedule=fine_tune", "data.batch_size=16", "schedule.joint.min_steps=0", "schedule.end_to_end.min_steps=0"]
SHORT = ["schedule.joint.max_epochs=1", "schedule.end_to_end.max_epochs=1", "schedule.label_embedding.min_steps=3"]


def weights(folder: Path, name: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]
    return found


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def started(settings: RunSettings) -> tuple[DeepMethod, FeatureBatch, Tensor]:
    """A method that begins at a probe of its training features, these as a batch, and pooled."""
    data = build_data(settings)
    method = build_method(settings, data.labels)
    assert isinstance(method, DeepMethod)
    featured = features_of(settings, data, method)
    (batch,) = featured.batches_of(np.sort(featured.splits["train"])[:40])
    features = method.encoder.pooled(batch.features.float())
    method.start_at_probe(features, batch.target, batch.known)
    return method.eval(), batch, features


@pytest.mark.parametrize(
    "loss, absent", [("binary_cross_entropy", False), ("assume_negative", True), ("expected_positives", False)]
)
def test_a_linear_head_may_begin_at_the_frequencies_as_its_loss_reads_unknown_labels(
    tiny: Tiny, loss: str, absent: bool
) -> None:
    settings = tiny("method=bce", f"method.loss={loss}", "data.observe=share:0.5", "precompute=true")
    data = build_data(settings)
    method = build_method(settings, data.labels)
    assert isinstance(method, DeepMethod)
    labels = data.training_labels()
    method.use_training_labels(labels)
    start_at_frequencies(method, labels)
    features = torch.randn(5, method.encoder.width)
    scores = method.classifier(features).sigmoid()
    for j in range(len(data.labels)):
        cells = [bool(y) for y, known in zip(labels.target[:, j], labels.known[:, j], strict=True) if known]
        rows = len(labels.target) if absent else len(cells)
        assert scores[:, j].tolist() == pytest.approx([(sum(cells) + 1) / (rows + 2)] * 5)


def test_weights_of_positives_shift_the_frequencies_and_other_heads_stay_as_they_are(tiny: Tiny) -> None:
    data = build_data(tiny("method=bce"))
    labels = data.training_labels()
    for words, weighs in ((["method.pos_weight=balanced"], True), (["method.head=csra"], False)):
        method = build_method(tiny("method=bce", *words), data.labels)
        assert isinstance(method, DeepMethod)
        before = {name: value.clone() for name, value in method.state_dict().items()}
        method.use_training_labels(labels)
        start_at_frequencies(method, labels)
        if weighs:  # of n positives and m negatives, each n weighs m ÷ n
            frequent = (labels.target.sum(0) + 1) / (len(labels.target) + 2)
            ratio = (1 - labels.target).sum(0) / labels.target.sum(0)
            odds = method.classifier.bias.exp()
            assert torch.allclose(odds, frequent / (1 - frequent) * ratio, rtol=1e-5)
        else:
            assert all(torch.equal(value, method.state_dict()[name]) for name, value in before.items())


def probed(method: DeepMethod, features: Tensor, batch: FeatureBatch) -> Tensor:
    """Logits of a probe of these features."""
    probe = fit_probe(features, batch.target, batch.known, seed=method.seed)
    return (features - probe.mean) / probe.deviation @ probe.weight.T + probe.bias


@pytest.mark.parametrize(
    "words",
    [
        ["method=bce"],
        ["method=bce", "method.head=max"],
        ["method=center"],
        ["method=retdm"],
        ["method=mil", "method.pooling=mean"],
    ],
    ids=" ".join,
)
@torch.no_grad()
def test_the_network_begins_with_the_logits_of_the_probe(tiny: Tiny, words: list[str]) -> None:
    method, batch, features = started(tiny(*FINE, "data.batch_size=64", *words))
    _, found = method.embed_and_classify(batch)
    torch.testing.assert_close(found, probed(method, features, batch), atol=2e-4, rtol=1e-3)
    assert found.std() > 0.1


@torch.no_grad()
def test_a_layer_narrower_than_the_features_keeps_their_principal_directions(tiny: Tiny) -> None:
    method, batch, _ = started(tiny(*FINE, "data.batch_size=64", "method=retdm", "method.embedding_dim=4"))
    layer = method.encoder.layers[1]
    assert isinstance(layer, nn.Linear)
    torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(4), atol=1e-5, rtol=0)
    x = standardised(batch.features.double().numpy())[0]
    values = np.linalg.eigvalsh(x.T @ x)
    inside = torch.from_numpy(x).float() @ layer.weight.T
    assert float(inside.square().sum()) == pytest.approx(values[-4:].sum(), rel=1e-4)


@torch.no_grad()
def test_two_layers_behind_frozen_features_begin_at_a_probe_of_what_they_give(tiny: Tiny) -> None:
    method, batch, _ = started(tiny(*FINE, "data.batch_size=64", "method=retdm", "precompute=true"))
    embedding, found = method.embed_and_classify(batch)
    torch.testing.assert_close(found, probed(method, embedding, batch), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("head, linear", [("csra", True), ("ml_decoder", False)])
@torch.no_grad()
def test_a_head_that_is_no_linear_classifier_takes_what_applies(tiny: Tiny, head: str, linear: bool) -> None:
    method, batch, features = started(tiny(*FINE, "data.batch_size=64", "method=bce", f"method.head={head}"))
    prior = (batch.target.sum(0) + 1) / (len(batch.target) + 2)
    bias = method.classifier.bias * (1 + (method.classifier.share if linear else 0))  # type: ignore[operator]
    torch.testing.assert_close(bias, (prior / (1 - prior)).log())
    if linear:
        torch.testing.assert_close(method.classifier.weight, fit_probe(features, batch.target, batch.known).weight)


def test_the_tested_weights_are_the_mean_of_start_and_end_by_their_shares(tiny: Tiny) -> None:
    folder = train(tiny(*FINE, *SHORT, "method=bce", "schedule.average=0.3", "schedule.end_to_end.lr=0.01"))
    start, end, tested = (weights(folder, name) for name in ("start", "end", "best"))
    assert not torch.equal(start["classifier.weight"], end["classifier.weight"])
    for name, value in tested.items():
        torch.testing.assert_close(value, 0.3 * start[name] + 0.7 * end[name])
    report = metrics(folder)
    assert list(report["earlier_stages"]) == ["probe", "not_averaged"]
    assert [stage["stage"] for stage in report["stages"]] == ["probe", "end_to_end"]


@pytest.mark.parametrize("words", [["method=bce", "method.head=ml_decoder"], ["method=c2ae"]], ids=" ".join)
def test_a_head_that_began_at_random_is_not_averaged_with_what_it_was(tiny: Tiny, words: list[str]) -> None:
    folder = train(tiny(*FINE, *SHORT, *words, "schedule.end_to_end.lr=0.01"))
    assert not (folder / "checkpoints/end.ckpt").exists()
    start, last, tested = (weights(folder, name) for name in ("start", "last", "best"))
    assert all(torch.equal(value, last[name]) for name, value in tested.items())
    assert any(not torch.equal(value, start[name]) for name, value in tested.items())
    assert list(metrics(folder)["earlier_stages"]) == ["probe"]


def test_nothing_is_averaged_twice_when_a_run_that_was_averaged_is_evaluated_again(tiny: Tiny) -> None:
    settings = tiny(*FINE, *SHORT, "method=bce", "schedule.end_to_end.lr=0.01")
    folder = train(settings)
    before, report = weights(folder, "best"), metrics(folder)
    (folder / "metrics.json").unlink()
    train(settings)
    assert all(torch.equal(value, before[name]) for name, value in weights(folder, "best").items())
    assert metrics(folder)["test"] == report["test"]
    assert metrics(folder)["earlier_stages"] == report["earlier_stages"]


def test_rows_of_validation_that_were_trained_on_evaluate_nothing(tiny: Tiny) -> None:
    found = metrics(train(tiny(*FINE, *SHORT, "method=bce", "refit=true", "threshold=0.3")))
    for report in (found, *found["earlier_stages"].values()):
        assert report["validation"] is None
    assert found["threshold"] == 0.3


def test_stages_on_features_train_their_components_and_leave_the_encoder(tiny: Tiny) -> None:
    quick = train(tiny("schedule=quick", "data.batch_size=16", "method=retdm", "schedule.label_embedding.min_steps=9"))
    found = metrics(quick)
    assert [(stage["stage"], stage["epochs"]) for stage in found["stages"]] == [("probe", 0), ("label_embedding", 3)]
    untrained = train(tiny("schedule=quick", "method=retdm", "schedule.label_embedding.max_epochs=0"))
    one, other = weights(quick, "best"), weights(untrained, "best")
    changed = {name.split(".")[0] for name in one if name in other and not torch.equal(one[name], other[name])}
    assert changed == {"label_net", "reconstruction", "unit"}
    assert found["test"]["mAP"] == metrics(untrained)["test"]["mAP"]


def test_a_small_validation_split_chooses_no_threshold(tiny: Tiny) -> None:
    settings = tiny("schedule=quick", "method=bce", "data.batch_size=64")
    folder = train(settings)
    data = build_data(settings)
    assert len(data.splits["validation"]) < 50
    method = build_method(settings, data.labels)
    (batch,) = features_of(settings, data, method).batches_of(np.sort(data.splits["train"])[:64])
    probe = fit_probe(batch.features, batch.target, batch.known, seed=settings.seed)
    expected = best_threshold(probe.scores.numpy(), batch.target.numpy(), batch.known.numpy())
    assert metrics(folder)["threshold"] == expected
    kept = read_chosen_on(RunFolder(folder))
    assert kept is not None and kept.source == OUT_OF_FOLD
    assert np.array_equal(kept.rows["index"], np.sort(data.splits["train"]))
    assert np.array_equal(kept.rows["scores"], probe.scores.numpy())
    assert in_process("test.py", f"run={folder}").code == 0
    assert json.loads((folder / "test.json").read_text())["threshold"] == expected


@pytest.mark.parametrize(
    "words",
    [
        ["method=asl"],
        ["method=cnn_softmax"],
        ["method=c2ae", *FINE, *SHORT],
        ["method=bce", "method.loss=asymmetric"],
        ["method=bce", "method.head=csra"],
        ["method=bce", "data.observe=single_positive"],  # of which the best decision is that everything is there
        ["method=role", "data.observe=share:0.5"],
    ],
    ids=" ".join,
)
def test_scores_that_are_no_probabilities_take_no_threshold_of_a_probe(tiny: Tiny, words: list[str]) -> None:
    settings = tiny("schedule=quick", *words)
    data = build_data(settings)
    method = build_method(settings, data.labels)
    folder = train(settings)
    method.load_state_dict(weights(folder, "best"))
    found = metrics(folder)
    assert found["threshold"] == threshold_on(predict(method, data, "validation"))


@pytest.mark.parametrize(
    "words",
    [["method=c2ae"], ["method=cnn_rnn"], ["method=mil"], ["method=bce", "method.head=ml_decoder"]],
    ids=" ".join,
)
def test_a_probe_alone_is_refused_where_the_head_takes_no_classifier(tiny: Tiny, words: list[str]) -> None:
    with pytest.raises(UserError, match="no stage trains the head"):
        train(tiny("schedule=quick", *words))


def test_what_was_measured_beside_the_weights_is_not_averaged(tiny: Tiny) -> None:
    folder = train(tiny(*FINE, *SHORT, "method=retdm", "schedule.label_embedding.max_epochs=0"))
    start, end, tested = (weights(folder, name)["unit"] for name in ("start", "end", "best"))
    assert start == 1
    assert tested == end != 1


def test_a_start_of_another_run_is_neither_averaged_nor_continued(tiny: Tiny) -> None:
    settings = tiny(*FINE, *SHORT, "method=bce")
    folder, other = train(settings), train(tiny(*FINE, *SHORT, "method=bce", "seed=1"))
    checkpoints = folder / "checkpoints"
    shutil.copy(other / "checkpoints/start.ckpt", checkpoints / "start.ckpt")
    shutil.copy(checkpoints / "end.ckpt", checkpoints / "best.ckpt")  # as before it was averaged
    method = build_method(settings, build_data(settings).labels)
    assert isinstance(method, DeepMethod)
    with pytest.raises(UserError, match=r"start.ckpt is of another run"):
        average_with_start(RunFolder(folder), settings, method)
    (folder / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"start.ckpt is of another run"):
        train(settings)


@pytest.mark.parametrize(
    "words, message",
    [
        (["schedule=short", "+schedule.average=0.5"], "schedule.average=0.5: weights that no probe set"),
        (["schedule=fine_tune", "schedule.average=1"], "schedule.average=1 is not a number from 0 to below 1"),
        (["schedule=fine_tune", "schedule.start=middle"], "schedule.start=middle is not"),
        (["schedule=fine_tune", "schedule.start=random", "schedule.average=0"], "inputs=features: features are"),
        (["schedule=short", *(f"schedule.{n}.max_epochs=0" for n in ("classification", "label_embedding", "joint"))],
         "no stage has an epoch to train"),
    ],
)  # fmt: skip
def test_a_start_that_cannot_be_is_refused_before_anything_is_read(tiny: Tiny, words: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        tiny("method=retdm", *words)
    assert message in error.value.message


def test_bags_have_no_backbone_whose_features_a_probe_could_read() -> None:
    with pytest.raises(UserError, match="schedule.start=probe: data=synthetic_bags gives bags of features"):
        compose_settings(["data=synthetic_bags", "method=mil", "schedule=fine_tune"])
