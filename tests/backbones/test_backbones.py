"""The features that backbones give, against torchvision's own forward pass and plain loops."""

import inspect
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn
from torchvision import models

from retdm.backbones import Backbone, Transform, build_backbone
from retdm.backbones.base import BatchNormMode
from retdm.backbones.densenet import DenseNet169
from retdm.backbones.mobilenet import MobileNetV2
from retdm.backbones.resnet import ResNet50
from retdm.backbones.vgg import VGG16, VGGSmall
from retdm.errors import UserError
from retdm.registry import resolve

CONF = Path(__file__).parents[2] / "conf" / "backbone"
CONFIGS = [CONF / f"{name}.yaml" for name in ("vgg16", "resnet50", "densenet169", "mobilenet_v2", "vgg_small")]
POOLED = {"resnet50": ResNet50, "densenet169": DenseNet169, "mobilenet_v2": MobileNetV2}


@pytest.fixture(scope="module", params=list(POOLED.values()), ids=list(POOLED))
def pooled(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    backbone: Backbone = request.param(weights="none")
    return backbone.eval()


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


def images(count: int = 2, height: int = 64, width: int | None = None) -> Tensor:
    return torch.randn(count, 3, height, width or height, generator=torch.Generator().manual_seed(1))


def quadrant_maxima(maps: Tensor) -> Tensor:
    """The definition as loops: by channel, the maximum of each quadrant; an odd side's middle lies in both halves."""
    rows = []
    for image in maps:
        row = []
        for channel in image:
            height, width = channel.shape
            for top, bottom in ((0, -(-height // 2)), (height // 2, height)):
                for left, right in ((0, -(-width // 2)), (width // 2, width)):
                    row.append(max(float(channel[y, x]) for y in range(top, bottom) for x in range(left, right)))
        rows.append(row)
    return torch.tensor(rows)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_builds_and_shows_every_setting(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    assert path.read_text().startswith("# ")
    settings = set(inspect.signature(resolve(config["_target_"])).parameters) - {"load"}
    assert set(config) - {"_target_"} == settings
    with torch.device("meta"):
        backbone = build_backbone(config | {"weights": "none"})
        image = torch.empty(2, 3, 96, 64)
        assert backbone(image).shape == (2, backbone.dim)
    assert backbone.name == path.stem


@pytest.mark.parametrize(
    "name, width, layer",
    [
        ("vgg16", 4096, "classifier.6"),
        ("resnet50", None, "fc"),
        ("densenet169", None, "classifier"),
        ("mobilenet_v2", None, "classifier.1"),
    ],
)
def test_names_and_shapes_are_torchvisions_but_for_the_last_layer(name: str, width: int | None, layer: str) -> None:
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text()) | {"weights": "none"}
    with torch.device("meta"):
        backbone = build_backbone(config | ({"fc": width} if width else {}))
        theirs = models.get_model(name).state_dict()
    dropped = [key for key in theirs if key.rpartition(".")[0] == layer]
    assert len(dropped) == 2
    kept = {f"net.{key}": tensor.shape for key, tensor in theirs.items() if key not in dropped}
    assert {key: tensor.shape for key, tensor in backbone.state_dict().items()} == kept


def test_the_embedding_is_torchvisions_forward_pass_without_the_last_layer(pooled: Backbone) -> None:
    for height, width in ((32, 32), (33, 50)):
        image = images(2, height, width)
        with torch.no_grad():
            expected = pooled.net(image)
            torch.testing.assert_close(pooled.embedding(image), expected)
            torch.testing.assert_close(pooled.maps(image).mean((2, 3)), expected)
        assert expected.shape == (2, pooled.dim)
    assert not pooled.projects
    assert (expected >= 0).all()  # means of what a ReLU gave


@pytest.mark.parametrize(
    "backbone, widths",
    [
        (lambda: VGG16("none", fc=4096), {"1": 64, "2": 128, "3": 256, "4": 512, "5": 512, "fc": 4096}),
        (lambda: MobileNetV2("none"), {"1": 16, "3": 24, "6": 32, "13": 96, "17": 320, "fc": 1280}),
        (
            lambda: DenseNet169("none"),
            {"relu0": 64, "denseblock1": 256, "denseblock2": 512, "denseblock3": 1280, "norm5": 1664, "fc": 1664},
        ),
        (
            lambda: ResNet50("none"),
            {"relu": 64, "layer1": 256, "layer2": 512, "layer3": 1024, "layer4": 2048, "fc": 2048},
        ),
    ],
)
def test_multilevel_widths_are_four_times_the_channels_and_the_vector(backbone, widths: dict[str, int]) -> None:
    with torch.device("meta"):
        built = backbone()
        image = torch.empty(1, 3, 64, 64)
        assert built.stages == tuple(widths)
        channels = {stage: level.shape[1] for stage, level in built.levels(image) if stage in built.stages}
        assert channels == {stage: width for stage, width in widths.items() if stage != "fc"}
        total = built.multilevel(image).shape[1]
    assert total == 4 * sum(widths.values()) - 3 * widths["fc"]
    assert total == {"vgg16": 9984, "mobilenet_v2": 3232, "densenet169": 16768, "resnet50": 17664}[built.name]


def test_multilevel_is_the_maximum_of_each_quadrant_of_each_stage(pooled: Backbone) -> None:
    """The stages are caught by hooks on torchvision's own forward pass."""
    caught: list[Tensor] = []

    def catch(module: nn.Module, inputs: object, output: Tensor) -> None:
        after_relu = output.relu() if isinstance(module, nn.BatchNorm2d) else output  # norm5
        caught.append(after_relu.clone())  # later layers work in place

    net = pooled.net
    children = dict(getattr(net, "features", net).named_children())
    names = ["bn1" if stage == "relu" else stage for stage in pooled.stages[:-1]]  # resnet50 has many calls of its relu
    handles = [children[name].register_forward_hook(catch) for name in names]
    image = images(1, 48)  # even sides at first, odd ones later
    with torch.no_grad():
        vector = net(image)
        for handle in handles:
            handle.remove()
        features = pooled.multilevel(image)
    torch.testing.assert_close(features, torch.cat([*map(quadrant_maxima, caught), vector], 1))


def test_some_stages_come_in_the_networks_order_and_run_no_further_than_needed() -> None:
    backbone = VGGSmall(channels=(8, 16, 24)).eval()
    image = images(2, 16)
    everything = backbone.multilevel(image)
    assert everything.shape == (2, 4 * (8 + 16 + 24) + 2 * 24)
    torch.testing.assert_close(backbone.multilevel(image, ["fc", 1]), everything[:, [*range(32), *range(192, 240)]])
    torch.testing.assert_close(backbone.multilevel(image, [3]), everything[:, 96:192])
    last = backbone.net.get_submodule("features.8")
    last.register_forward_pre_hook(lambda module, inputs: pytest.fail("the third stage ran"))
    torch.testing.assert_close(backbone.multilevel(image, ["2", 1]), everything[:, :96])


@pytest.mark.parametrize("stages, words", [([1, "layer9"], "no stage layer9"), ([], "no stage of vgg_small is chosen")])
def test_an_unknown_stage_or_none_is_an_error_that_lists_the_stages(stages: list[str | int], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        VGGSmall().multilevel(images(1), stages)
    assert "1, 2, 3, 4, fc" in caught.value.hint


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


@pytest.mark.parametrize("channels, convs", [((30,), 1), ((), 1), ((32,), 0)])
def test_vgg_small_that_cannot_be_built_is_an_error(channels: tuple[int, ...], convs: int) -> None:
    with pytest.raises(UserError, match="vgg_small cannot be built"):
        VGGSmall(channels=channels, convs=convs)


def running_statistics(backbone: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.named_buffers()}


@pytest.mark.parametrize(
    "loaded, asked, frozen",
    [
        (True, None, True),
        (False, None, False),
        (True, "trained", False),
        (True, "frozen", True),
        (False, "frozen", True),
    ],
)
def test_running_statistics_move_only_where_batchnorm_is_trained(
    tmp_path: Path, loaded: bool, asked: BatchNormMode, frozen: bool
) -> None:
    torch.manual_seed(0)
    torch.save(models.mobilenet_v2().state_dict(), tmp_path / "net.pt")
    backbone = MobileNetV2(weights=str(tmp_path / "net.pt") if loaded else "none", batchnorm=asked)
    assert backbone.batchnorm == ("frozen" if frozen else "trained")
    method = nn.Sequential(backbone, nn.Linear(1280, 2))
    before = running_statistics(backbone)
    for training in (False, True):  # as a trainer does after each validation
        method.train(training)
    assert backbone.training
    method(images(2, 32)).square().mean().backward()
    after = running_statistics(backbone)
    assert before and all(torch.equal(before[name], after[name]) == frozen for name in before)
    for name, parameter in backbone.named_parameters():  # scale and shift learn in either case
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_a_rebuilt_backbone_treats_batchnorm_as_its_configuration_implies() -> None:
    config = {"_target_": "retdm.backbones.mobilenet.MobileNetV2"}
    with torch.device("meta"):
        for weights, mode in (("imagenet", "frozen"), ("none", "trained"), ("gone/long/ago.pt", "frozen")):
            backbone = build_backbone(config | {"weights": weights}, load=False)
            assert backbone.batchnorm == mode
            assert backbone.report is None
            assert any(m.training for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)) == (mode == "trained")
    assert VGGSmall().batchnorm == "frozen"  # it has none whose statistics could move


def test_images_too_small_for_the_network_are_an_error() -> None:
    with torch.device("meta"):
        backbone = VGG16(weights="none", fc=8)
        for call in (backbone.embedding, backbone.maps, backbone.multilevel):
            with pytest.raises(UserError, match="31 x 40 are too small for vgg16"):
                call(torch.empty(1, 3, 31, 40))


def test_a_transform_survives_being_written_as_plain_values() -> None:
    transform = Transform(size=96, mean=(0.1, 0.2, 0.3), interpolation="bicubic")
    plain = transform.as_dict()
    assert plain["mean"] == [0.1, 0.2, 0.3] and plain["size"] == 96
    assert Transform(**yaml.safe_load(yaml.safe_dump(plain))) == transform
    assert VGGSmall.transform.size == 64 and VGG16.transform == Transform() == Transform(size=224)


@pytest.mark.parametrize(
    "config, words",
    [
        ({"weights": "none"}, "no _target_"),
        ({"_target_": "retdm.backbones.base.Transform"}, "is no backbone"),
        ({"_target_": "retdm.backbones.vgg.VGG61"}, "no class 'VGG61'"),
    ],
)
def test_a_configuration_that_names_no_backbone_is_an_error(config: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        build_backbone(config)


def test_asking_for_the_width_of_the_maps_leaves_batchnorm_and_the_mode_alone() -> None:
    backbone = MobileNetV2(weights="none", batchnorm="trained").train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    assert backbone.channels == 1280
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert backbone.training and all(module.training for module in backbone.modules())
