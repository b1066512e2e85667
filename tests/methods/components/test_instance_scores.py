"""Scores of an image's places by every head, from its logits and from what is planted in its maps."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from nets import Normed
from torch import Tensor
from torch.nn import functional as F

from retdm.backbones import Backbone
from retdm.backbones.vgg import VGG16
from retdm.batch import Batch, FeatureBatch
from retdm.errors import UserError
from retdm.methods.components.encoder import BackboneEncoder
from retdm.methods.components.heads import Head, MLDecoder
from retdm.methods.deep import DeepMethod
from retdm.methods.networks.c2ae import C2AE
from retdm.methods.networks.center import Center
from retdm.methods.networks.classifier import Classifier
from retdm.methods.networks.retdm import RETDM

LABELS = ["a", "b", "c"]
HEADS = get_args(Head)


def build(kind: Callable[..., DeepMethod] = Classifier, backbone: Backbone | None = None, **how: Any) -> DeepMethod:
    torch.manual_seed(0)
    method = kind(backbone or Normed(), LABELS, stages=[], **how).double().eval()
    moments = method.encoder.layers[0]
    moments.mean.normal_(), moments.deviation.uniform_(0.5, 2)  # type: ignore[operator, union-attr]
    return method


def images(rows: int = 2) -> Batch:
    draw = torch.Generator().manual_seed(1)
    image = torch.randn(rows, 3, 8, 10, generator=draw, dtype=torch.float64)
    target = torch.zeros(rows, len(LABELS))
    return Batch(torch.arange(rows), image, target, target == 0)


def features(of: Tensor) -> FeatureBatch:
    target = torch.zeros(len(of), len(LABELS))
    return FeatureBatch(torch.arange(len(of)), of, target, target == 0)


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the encoder makes of maps stays in float64."""
    monkeypatch.setattr(Tensor, "float", lambda self: self.double())


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize(
    ("kind", "how"),
    [(Classifier, {}), (Classifier, {"embedding_dim": 6}), (RETDM, {"embedding_dim": 512}), (Center, {})],
    ids=["bce", "bce with a layer", "retdm", "center"],
)
def test_the_mean_of_a_class_activation_map_is_the_images_logit(kind: Any, how: dict[str, Any]) -> None:
    method, batch = build(kind, **how), images()
    with torch.no_grad():
        maps = method.instance_scores(batch).logit()
        assert method.scores_instances and maps.shape == (2, 6 * 8, 3)
        torch.testing.assert_close(maps.mean(1), method.scores(batch).logit())
        assert maps.std(1).min() > 0.01


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *((Classifier, {"head": head, "embedding_dim": 6}) for head in HEADS if head != "csra"),
        (Classifier, {"activation": "softmax"}),
        (RETDM, {"score": "label_sets", "k": 2}),
        (RETDM, {"score": "both", "mixture": 0.3, "k": 2}),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_a_place_scores_as_an_image_in_which_there_is_nothing_else(kind: Any, how: dict[str, Any]) -> None:
    method, maps = build(kind, **how), torch.rand(2, 8, 3, 4, dtype=torch.float64)
    if isinstance(method, RETDM):
        method.train_sets = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 1]]).bool()
        method.train_counts = torch.tensor([3, 1, 2])
    with torch.no_grad():
        found = method.instance_scores(features(maps)).view(2, 3, 4, 3)
        assert found.min() >= 0 and found.max() <= 1
        for row, column in ((0, 0), (1, 3), (2, 1)):
            alone = maps[:, :, row : row + 1, column : column + 1].expand_as(maps)
            torch.testing.assert_close(found[:, row, column], method.scores(features(alone)))


@pytest.mark.usefixtures("in_double")
def test_behind_a_maximum_a_place_has_no_more_of_a_feature_than_the_image() -> None:
    method, batch = build(head="max"), images()
    with torch.no_grad():
        method.classifier.weight.abs_()
        places = method.instance_scores(batch)
        assert (places <= method.scores(batch)[:, None] + 1e-12).all()
        assert places.std(1).min() > 0.001


@pytest.mark.parametrize("head", HEADS)
def test_a_planted_object_is_found(head: Any) -> None:
    method = build(head=head).float()
    method.encoder.set_moments(torch.full((8,), 0.3), torch.full((8,), 0.5))
    if head == "ml_decoder":  # the size that suits photographs takes a quarter of a minute
        torch.manual_seed(3)
        method.classifier = MLDecoder(8, 3, width=16, heads=2).eval()
    draw = torch.Generator().manual_seed(2)
    maps = 0.5 * torch.rand(96, 8, 4, 4, generator=draw)
    target = (torch.rand(96, 3, generator=draw) < 0.5).float()
    rows, columns = torch.randint(0, 4, (2, 96, 3), generator=draw)
    for label in range(3):  # channel ``label`` is high at one place where the image has the label
        maps[torch.arange(96), label, rows[:, label], columns[:, label]] += 3 * target[:, label]
    optimizer = torch.optim.Adam(method.classifier.parameters(), 0.01 if head == "ml_decoder" else 0.03)
    batch = features(maps)
    for _ in range(150):
        _, logits = method.embed_and_classify(batch)
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(logits, target).backward()
        optimizer.step()
    with torch.no_grad():
        place = method.instance_scores(batch).argmax(1)
    assert ((place == 4 * rows + columns)[target > 0]).double().mean() > 0.95


def test_what_is_no_function_of_places_has_no_scores_of_them() -> None:
    with torch.device("meta"):
        method = Classifier(VGG16("none"), LABELS, stages=[])
        assert not method.scores_instances
        with pytest.raises(UserError, match="the embedding of vgg16 does not pool the places of its last map") as error:
            method.instance_scores(images())
        assert "csra" in error.value.hint
        assert Classifier(VGG16("none"), LABELS, stages=[], head="csra").scores_instances
    other = build(C2AE)
    assert not other.scores_instances
    with pytest.raises(UserError, match="classifies whole images"):
        other.instance_scores(images())
    with pytest.raises(UserError, match="features of whole images have no regions"):
        build().instance_scores(features(torch.rand(2, 8)))


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("view", ["embedding", "cells", "grid"])
def test_features_and_regions_of_one_pass_are_those_of_two(view: Any) -> None:
    encoder, batch = BackboneEncoder(Normed(), 5, view=view, grid=2).double().eval(), images()
    whole, regions = encoder.extract_with_regions(batch.image)
    assert torch.equal(whole, encoder.extract(batch.image)) and regions.ndim == 4
    assert torch.equal(encoder.instances(features(regions))[0], encoder.instances(batch)[0])
