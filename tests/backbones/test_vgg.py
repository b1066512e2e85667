"""VGG16 against torchvision's own forward pass, and the small network of its design."""

from pathlib import Path

import pytest
import torch
from image_maps import images, quadrant_maxima
from torch import Tensor, nn
from torchvision import models

from retdm.backbones.vgg import VGG16, VGGSmall
from retdm.errors import UserError


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """All tensors of torchvision's vgg16; each output has one number for all its inputs, so the file is small."""
    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in models.vgg16().state_dict().items()}
    state = {}
    for name, shape in shapes.items():
        inputs = max(1, shape[1:].numel())
        state[name] = (torch.randn(shape[0], *[1] * (len(shape) - 1)) * 4 / inputs).expand(shape)
    return state


@pytest.fixture(scope="module")
def vgg16(published: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> VGG16:
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    torch.save(published, path)
    return VGG16(weights=str(path), fc=512).eval()


@pytest.fixture
def unfilled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fully connected layers hold what lies in memory: to draw their numbers takes a second, and no test reads them."""
    monkeypatch.setattr(nn.Linear, "reset_parameters", lambda self: None)
    monkeypatch.setattr(nn.init, "normal_", lambda tensor, *_: tensor)


def test_vgg16_takes_all_but_its_second_layer_and_keeps_that_one_random(
    vgg16: VGG16, published: dict[str, Tensor]
) -> None:
    report = vgg16.report
    assert report is not None
    assert (report.taken, report.random, report.unused) == (28, ["classifier.3 (512 wide)"], ["classifier.6"])
    assert str(report).endswith("; at random: classifier.3 (512 wide); not taken: classifier.6")
    for name, parameter in vgg16.net.named_parameters():
        if not name.startswith("classifier.3"):
            assert torch.equal(parameter, published[name]), name
    assert vgg16.net.classifier[3].weight.std().item() == pytest.approx(0.01, rel=0.01)


def test_vgg16_at_512_projects_to_signed_numbers_before_relu_and_dropout(vgg16: VGG16) -> None:
    assert vgg16.projects and vgg16.dim == 512
    for size in (32, 70):
        image = images(2, size)
        with torch.no_grad():
            embedding = vgg16.embedding(image)
            after_relu = vgg16.net(image)  # torchvision's forward: six layers of the classifier, dropout off
        assert embedding.shape == (2, 512)
        assert (embedding < 0).any() and (embedding > 0).any()
        torch.testing.assert_close(embedding.relu(), after_relu)


def test_vgg16_stages_are_its_five_poolings(vgg16: VGG16) -> None:
    x = image = images(1, 48)
    expected = []
    with torch.no_grad():
        for layer in vgg16.net.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                expected.append(quadrant_maxima(x))
        features = vgg16.multilevel(image, [1, 2, 3, 4, 5])
        torch.testing.assert_close(vgg16.maps(image), x)
    assert len(expected) == 5
    torch.testing.assert_close(features, torch.cat(expected, 1))


def test_vgg16_at_512_has_no_published_layer_to_give(vgg16: VGG16) -> None:
    with pytest.raises(UserError, match="backbone.fc is 512") as caught, torch.no_grad():
        vgg16.multilevel(images(1, 32))
    assert "backbone.fc=4096" in caught.value.hint


def test_vgg16_at_4096_gives_the_second_fully_connected_layer_after_relu(vgg16: VGG16) -> None:
    second = nn.Linear(4096, 4096)
    with torch.device("meta"):
        whole = VGG16(weights="none", fc=4096).eval()
    whole.net.features = vgg16.net.features
    whole.net.classifier[0], whole.net.classifier[3] = vgg16.net.classifier[0], second
    image = images(2, 32)
    with torch.no_grad():
        first = vgg16.net.classifier[0](vgg16.net.avgpool(vgg16.maps(image)).flatten(1)).relu()
        expected = second(first).relu()
        torch.testing.assert_close(whole.embedding(image), expected)
        torch.testing.assert_close(whole.multilevel(image, ["fc"]), expected)
        assert not whole.projects and whole.dim == 4096
        whole.train()
        torch.manual_seed(0)
        zeros = (whole.embedding(image) == 0).float().mean()
    assert zeros > (expected == 0).float().mean() + 0.1  # the published dropout, in training


def test_vgg_small_takes_any_size_from_two_to_the_number_of_stages_on() -> None:
    backbone = VGGSmall(channels=(8, 16), convs=2)
    for height, width in ((4, 4), (5, 19), (64, 64)):
        assert backbone.embedding(images(3, height, width)).shape == (3, 2 * 16)
    with pytest.raises(UserError, match="3 x 64 are too small for vgg_small"):
        backbone.embedding(images(3, 3, 64))
    assert sum(isinstance(layer, nn.Conv2d) for layer in backbone.modules()) == 4


def test_vgg_small_gives_an_image_the_same_features_in_any_batch_and_mode() -> None:
    torch.manual_seed(0)
    backbone = VGGSmall(channels=(8, 16))
    batch = images(3, 16)
    alone = torch.cat([backbone(image[None]) for image in batch])
    torch.testing.assert_close(backbone.train()(batch), alone)
    torch.testing.assert_close(backbone.eval()(batch), alone)
    assert alone.std(0).max() > 0  # and different images different ones


@pytest.mark.parametrize("channels", [(30,), ()])
def test_vgg_small_of_other_channels_is_an_error(channels: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="does not make a vgg_small"):
        VGGSmall(channels=channels)


@pytest.fixture(scope="module")
def convolutions(published: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of the convolutions alone, in half precision."""
    path = tmp_path_factory.mktemp("convolutions") / "vgg16_features.pt"
    torch.save({name: tensor.half() for name, tensor in published.items() if name.startswith("features")}, path)
    return str(path)


@pytest.mark.usefixtures("unfilled")
def test_a_file_of_convolutions_alone_is_enough_without_fully_connected_layers(
    convolutions: str, published: dict[str, Tensor]
) -> None:
    net = VGG16(weights=convolutions, fc="none").eval()
    assert net.report is not None and (net.report.taken, net.report.random, net.report.unused) == (26, [], [])
    assert {name: tensor.shape for name, tensor in net.net.state_dict().items()} == {
        name: tensor.shape for name, tensor in published.items() if name.startswith("features")
    }
    image = images(2, 70)
    with torch.no_grad():
        torch.testing.assert_close(net.embedding(image), net.net.features(image).mean((2, 3)))
        assert net.embedding(image).shape == (2, net.dim) == (2, 512)
        assert net.multilevel(image).shape == (2, 4 * (64 + 128 + 256 + 512 + 512))
        with pytest.raises(UserError, match="vgg16 has no stage fc"):
            net.multilevel(image, ["fc"])


@pytest.mark.usefixtures("unfilled")
def test_of_a_whole_file_the_convolutions_alone_are_taken_and_the_rest_is_told(
    published: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(published, tmp_path / "vgg16.pth")
    net = VGG16(weights=str(tmp_path / "vgg16.pth"), fc="none")
    assert str(net.report).endswith("; not taken: classifier.0, classifier.3, classifier.6")


@pytest.mark.usefixtures("unfilled")
def test_where_fully_connected_layers_are_needed_the_error_says_how_to_go_without(convolutions: str) -> None:
    with pytest.raises(UserError, match="has not all layers of vgg16; missing: classifier.0") as error:
        VGG16(weights=convolutions, fc=512)
    assert error.value.hint == "backbone.fc=none goes without them"
