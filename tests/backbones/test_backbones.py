"""The features that backbones give, against torchvision's own forward pass and plain loops."""

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from image_maps import images, quadrant_maxima
from nets import build_backbone
from torch import Tensor, nn
from torchvision import models

from retdm.backbones import Backbone, Transform
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
def test_multilevel_widths_are_four_times_the_channels_and_the_vector(
    backbone: Callable[[], Backbone], widths: dict[str, int]
) -> None:
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
        ({"_target_": "retdm.backbones.base.Transform"}, "is not a backbone"),
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


# Of each network the parameter that stands first and the one that stands last in each stage, from the head on.
DEPTHS: dict[str, list[tuple[str, ...]]] = {
    "resnet50": [("layer4.0.conv1", "layer4.2.bn3"), ("layer3.0", "layer3.5"), ("layer2.0", "layer2.3"),
                 ("layer1.0", "layer1.2"), ("conv1", "bn1")],
    "mobilenet_v2": [("features.18",), ("features.14", "features.17"), ("features.7", "features.13"),
                     ("features.4", "features.6"), ("features.2", "features.3"), ("features.0", "features.1")],
    "densenet169": [("features.transition3", "features.denseblock4", "features.norm5"),
                    ("features.transition2", "features.denseblock3"), ("features.transition1", "features.denseblock2"),
                    ("features.denseblock1",), ("features.conv0", "features.norm0")],
}  # fmt: skip


@pytest.mark.parametrize("batchnorm", ["trained", "frozen"])
@pytest.mark.parametrize("name", POOLED)
def test_depths_follow_the_stages_and_leave_the_network_as_it_was(name: str, batchnorm: BatchNormMode) -> None:
    backbone: Backbone = POOLED[name](weights="none", batchnorm=batchnorm)  # type: ignore[abstract]
    backbone.train()
    backbone.net.get_submodule(DEPTHS[name][-1][0]).requires_grad_(False)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    trained = {key: parameter.requires_grad for key, parameter in backbone.named_parameters()}
    depths = backbone.depths()
    assert depths.keys() == trained.keys() and set(depths.values()) == set(range(1, len(DEPTHS[name]) + 1))
    for depth, places in enumerate(DEPTHS[name], 1):
        for place in places:
            assert {n for key, n in depths.items() if key.startswith(f"net.{place}.")} == {depth}
    assert backbone.training
    assert trained == {key: parameter.requires_grad for key, parameter in backbone.named_parameters()}
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())


def test_fully_connected_layers_are_the_last_in_depth() -> None:
    with torch.device("meta"):
        depths = VGG16(weights="none").depths()
    assert {depth for key, depth in depths.items() if ".classifier." in key} == {1}
    assert (
        depths["net.features.28.weight"] == 2 and depths["net.features.0.weight"] == depths["net.features.2.bias"] == 6
    )
