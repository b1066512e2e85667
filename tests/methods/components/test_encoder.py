"""Encoders on images, their regions, bags and precomputed features."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from makers import image_batch

import retdm
from retdm.backbones import NoBackbone
from retdm.backbones.vgg import VGGSmall
from retdm.batch import BagBatch
from retdm.commands.train import train
from retdm.errors import UserError
from retdm.methods.components.encoder import BackboneEncoder
from retdm.runs.build import build_data, build_method, precompute
from retdm.settings.compose import compose_settings
from retdm.settings.run_settings import RunSettings
from retdm.training.precompute import features as feature_cache

Tiny = Callable[..., RunSettings]


def net(width: int | None = None, frozen: bool = True, **how: Any) -> BackboneEncoder:
    torch.manual_seed(0)
    backbone = VGGSmall(channels=[8, 8])
    return BackboneEncoder(backbone.freeze() if frozen else backbone, width, **how).eval()


def test_cells_are_the_places_of_the_last_map_row_by_row() -> None:
    image = torch.randn(2, 3, 32, 48)
    cells, mask = net(view="cells").instances(image_batch(image))
    maps = net().backbone.maps(image)
    assert cells.shape == (2, maps.shape[2] * maps.shape[3], 8)
    assert mask.all() and mask.shape == cells.shape[:2]
    assert torch.equal(cells[1, maps.shape[3] + 2], maps[1, :, 1, 2])


def test_a_grid_reads_each_crop_as_an_image_of_its_own() -> None:
    image = torch.randn(2, 3, 34, 64)  # 34 is no multiple of 2 x 17 less one: the remainder is left out
    crops, _ = net(view="grid", grid=2).instances(image_batch(image))
    alone = net().backbone.embedding(image[:, :, 17:34, 0:32])
    assert crops.shape == (2, 4, net().width)
    assert torch.allclose(crops[:, 2], alone, atol=1e-6)


@pytest.mark.parametrize("pool", ["average", "max"])
def test_one_vector_of_regions_is_their_mean_or_maximum(pool: Any) -> None:
    image = torch.randn(2, 3, 32, 32)
    encoder = net(view="cells", pool=pool)
    maps = encoder.backbone.maps(image).flatten(2)
    expected = maps.mean(2) if pool == "average" else maps.amax(2)
    assert torch.allclose(encoder(image_batch(image)), expected, atol=1e-6)


def test_a_frozen_backbone_is_never_trained_and_the_layers_behind_it_are() -> None:
    encoder = net(16).requires_grad_(True).train()
    assert not any(parameter.requires_grad for parameter in encoder.backbone.parameters())
    assert not any(module.training for module in encoder.backbone.modules())
    assert all(parameter.requires_grad for parameter in encoder.layers.parameters())
    assert len(list(encoder.layers.parameters())) == 4  # two layers
    free = net(16, frozen=False).requires_grad_(True)
    assert all(parameter.requires_grad for parameter in free.parameters())


def test_frozen_features_are_standardised_by_their_moments_and_constant_ones_keep_their_scale() -> None:
    encoder = net()
    image = torch.randn(5, 3, 32, 32)
    plain = encoder(image_batch(image))
    deviation = plain.std(0, correction=0)
    deviation[0] = 0
    encoder.set_moments(plain.mean(0), deviation)
    found = encoder(image_batch(image))
    assert torch.allclose(found.mean(0), torch.zeros(encoder.width), atol=1e-5)
    assert torch.allclose(found[:, 0], plain[:, 0] - plain[:, 0].mean(), atol=1e-6)
    moved = plain.std(0, correction=0) > 1e-6
    moved[0] = False
    assert torch.allclose(found.std(0, correction=0)[moved], torch.ones(int(moved.sum())), atol=1e-3)


def test_instances_of_bags_go_through_the_layers_with_their_mask() -> None:
    torch.manual_seed(0)
    encoder = BackboneEncoder(NoBackbone(6), 4, view="cells")
    bag, mask = torch.randn(2, 3, 6), torch.tensor([[True, True, False], [True, True, True]])
    unused = torch.zeros(2, 1)
    rows, found = encoder.instances(BagBatch(torch.arange(2), bag, mask, unused, unused.bool()))
    assert torch.equal(found, mask)
    assert torch.allclose(rows[1, 2], encoder.layers(bag[1, 2]))
    with pytest.raises(UserError, match="trained on bags of instances and was given images"):
        encoder.instances(image_batch(torch.randn(1, 3, 32, 32)))


# In runs


@pytest.mark.parametrize("head", ["average", "csra"])
def test_cached_features_give_the_scores_of_the_images(tiny: Tiny, head: str) -> None:
    settings = tiny("method=bce", f"method.head={head}", "precompute=true", "method.embedding_dim=8")
    data = build_data(settings)
    method = build_method(settings, data.labels).eval()
    loader = data.split_loader("validation")
    with torch.no_grad():
        images = [method.scores(method.on_after_batch_transfer(batch, 0)) for batch in loader]
        data = precompute(settings, data, method)
        cached = [method.scores(method.on_after_batch_transfer(batch, 0)) for batch in data.split_loader("validation")]
    # Regions are cached in half precision.
    assert torch.allclose(torch.cat(images), torch.cat(cached), atol=1e-5 if head == "average" else 2e-3)


def test_moments_are_those_of_the_training_parts_features(tiny: Tiny) -> None:
    settings = tiny("method=bce", "method.head=max", "precompute=true")
    data = build_data(settings)
    method = build_method(settings, data.labels)
    data = precompute(settings, data, method)
    data.features = np.array(data.features)
    data.features[:, 0] = 0.1
    mean, deviation = data.moments()
    maps = data.features[data.splits["train"]].astype(np.float64)
    assert np.allclose(mean, maps.mean((0, 2, 3)), rtol=1e-9)
    assert np.allclose(deviation[1:], maps[:, 1:].std((0, 2, 3)), rtol=1e-9)
    assert deviation[0] == 1


def test_moments_of_bags_are_those_of_their_instances_and_not_of_the_places_that_fill_a_batch() -> None:
    data = build_data(compose_settings(["data=synthetic_bags", "data.size=50", "method=mil"]))
    data.source.offsets = data.source.offsets.copy()
    data.source.offsets[1:-1:2] -= 7  # bags of 9 and of 23
    mean, deviation = data.moments()
    rows = data.examples("train")[0].instances.astype(np.float64)
    assert np.allclose(mean, rows.mean(0)) and np.allclose(deviation, rows.std(0))


def test_a_precomputed_run_reads_each_image_once_and_leaves_a_checkpoint_that_reads_images(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    extract = BackboneEncoder.extract
    monkeypatch.setattr(
        BackboneEncoder, "extract", lambda self, images: looks.append(len(images)) or extract(self, images)
    )
    monkeypatch.setattr(feature_cache, "track", lambda rows, *rest, **how: rows)
    settings = tiny("method=bce", "precompute=true", "method.embedding_dim=8", "data.cache=none")
    folder = train(settings)
    assert sum(looks) == 60 + 1  # one blank image tells the shape
    before = build_method(settings, build_data(settings).labels).encoder.backbone.state_dict()
    model = retdm.load(folder)
    after = model.method.encoder.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    data = build_data(settings)
    rows = np.load(folder / "predictions.npz")
    scores = model.predict([np.array(data.images[int(i)]) for i in rows["index"]])
    assert np.allclose(scores, rows["scores"], atol=1e-5)
