"""Embeddings of the places of the last map, beside that of the whole image."""

from collections.abc import Callable

import pytest
import torch
from image_maps import images

from retdm.backbones import Backbone
from retdm.backbones.densenet import DenseNet169
from retdm.backbones.mobilenet import MobileNetV2
from retdm.backbones.resnet import ResNet50
from retdm.backbones.vgg import VGG16, VGGSmall


def vgg16_without_fc(weights: str) -> VGG16:
    with torch.device("meta"):  # or a hundred million weights would be drawn first
        backbone = VGG16(weights, "none")
    backbone.to_empty(device="cpu")
    for parameter in backbone.parameters():
        parameter.data.normal_(0, 0.03)
    return backbone


@pytest.mark.parametrize("build", [ResNet50, DenseNet169, MobileNetV2, vgg16_without_fc])
def test_an_embedding_that_is_a_mean_is_the_mean_of_its_places(build: Callable[..., Backbone]) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        backbone = build("none").double().eval()
        image = images(1, 32, 64).double()
        embedding, places = backbone.embedding_and_places(image)
        assert backbone.embeds_places and places.shape == (1, backbone.dim, 1, 2)
        assert torch.equal(embedding, backbone.embedding(image))
        torch.testing.assert_close(places.mean((2, 3)), embedding)
        assert places.std((2, 3)).max() > 1e-3 * places.mean()


def test_a_place_has_the_embedding_of_a_map_that_is_this_place_everywhere() -> None:
    backbone = VGGSmall(channels=[8, 16]).eval()  # the mean beside the maximum
    image = images(2, 12, 20)
    maps = backbone.maps(image)
    embedding, places = backbone.embedding_and_places(image)
    assert torch.equal(embedding, backbone.embedding(image)) and places.shape == (2, 32, 3, 5)
    everywhere = maps[1, :, 2, 3].view(1, 16, 1, 1).expand(1, 16, 3, 5)
    torch.testing.assert_close(places[1, :, 2, 3], backbone.vector(everywhere)[0])


def test_fully_connected_layers_know_no_single_place() -> None:
    with torch.device("meta"):
        assert not VGG16("none").embeds_places and not VGG16("none", fc=4096).embeds_places
