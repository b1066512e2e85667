"""Loading: every kept tensor arrives, what does not is said, and what does not fit is refused."""

import hashlib
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from nets import build_backbone
from torch import Tensor, nn
from torchvision import models

from retdm.backbones import weights_hash
from retdm.backbones.densenet import DenseNet169
from retdm.backbones.mobilenet import MobileNetV2
from retdm.backbones.vgg import VGG16, VGGSmall
from retdm.backbones.weight_files import read_state
from retdm.errors import UserError
from retdm.registry import resolve

State = dict[str, Tensor]
MOBILENET = {"_target_": "retdm.backbones.mobilenet.MobileNetV2"}


def hash_of(config: dict[str, str]) -> str:
    return weights_hash(resolve(config["_target_"]), config)


@pytest.fixture(scope="module")
def trained() -> State:
    """A whole mobilenet_v2 whose every number differs from a fresh one's."""
    torch.manual_seed(1)
    state = models.mobilenet_v2().state_dict()
    return {name: tensor + torch.rand(tensor.shape) if tensor.is_floating_point() else tensor + 7
            for name, tensor in state.items()}  # fmt: skip


def saved(content: object, path: Path, **how: bool) -> str:
    torch.save(content, path, **how)
    return str(path)


def holds(backbone: nn.Module, state: State, but: str = "classifier.") -> bool:
    own = backbone.get_submodule("net").state_dict()
    expected = {name: tensor for name, tensor in state.items() if not name.startswith(but)}
    return own.keys() == expected.keys() and all(torch.equal(own[name], expected[name]) for name in own)


@pytest.mark.parametrize("old_format", [False, True])
def test_every_tensor_but_the_last_layers_is_taken_and_the_report_says_so(
    trained: State, tmp_path: Path, old_format: bool
) -> None:
    path = saved(trained, tmp_path / "net.pth", _use_new_zipfile_serialization=not old_format)
    backbone = MobileNetV2(weights=path)
    assert holds(backbone, trained)
    report = backbone.report
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert report is not None
    assert (report.taken, report.random, report.unused) == (312, [], ["classifier.1"])
    assert (report.source, report.sha256) == (path, digest)
    assert str(report) == f"weights: 312 tensors from {path} (sha256 {digest[:8]}); not taken: classifier.1"


def test_a_file_without_the_last_layer_or_the_batch_counts_under_state_dict_is_taken(
    trained: State, tmp_path: Path
) -> None:
    fewer = {
        name: tensor
        for name, tensor in trained.items()
        if not name.startswith("classifier") and not name.endswith("num_batches_tracked")
    }
    backbone = MobileNetV2(weights=saved({"state_dict": fewer, "epoch": 3}, tmp_path / "net.pt"))
    assert all(torch.equal(backbone.net.state_dict()[name], tensor) for name, tensor in fewer.items())
    assert backbone.report is not None and backbone.report.unused == []
    assert backbone.report.taken == len(fewer) == 260


def test_half_precision_becomes_float32(trained: State, tmp_path: Path) -> None:
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in trained.items()}
    backbone = MobileNetV2(weights=saved(half, tmp_path / "net.pt"))
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    assert holds(backbone, {name: tensor.float() if tensor.dtype == torch.half else tensor
                            for name, tensor in half.items()})  # fmt: skip


def test_a_run_folder_gives_the_backbone_of_its_best_checkpoint(trained: State, tmp_path: Path) -> None:
    state = {f"encoder.backbone.net.{name}": tensor for name, tensor in trained.items() if "classifier" not in name}
    state |= {"label_net.0.weight": torch.ones(3, 4), "classifier.weight": torch.ones(4, 3)}
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    path = saved({"state_dict": state, "epoch": 3}, tmp_path / "run" / "checkpoints" / "best.ckpt")
    config = MOBILENET | {"weights": str(tmp_path / "run")}
    backbone = build_backbone(config)
    assert holds(backbone, trained)
    assert backbone.report is not None and backbone.report.source == path
    assert hash_of(config) == backbone.report.sha256


def test_a_folder_without_a_best_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no checkpoints/best.ckpt, model.safetensors or pytorch_model.bin"):
        MobileNetV2(weights=str(tmp_path))


def test_a_checkpoint_with_two_backbones_is_an_error(tmp_path: Path) -> None:
    state = {"backbone.net.a": torch.ones(1), "teacher.backbone.net.a": torch.ones(1)}
    with pytest.raises(UserError, match="more than one backbone"):
        MobileNetV2(weights=saved(state, tmp_path / "net.pt"))


def test_the_old_names_of_torchvisions_densenet_file_are_understood(tmp_path: Path) -> None:
    """torchvision's densenet169 file says norm.1 and conv.1 in its dense layers where its network says norm1, conv1."""
    with torch.device("meta"):
        names = models.densenet169().state_dict()
    old = {}
    for name, tensor in names.items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            if ".denselayer" in name:
                name = name.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        if not name.endswith("num_batches_tracked"):  # the file is older than these
            old[name] = torch.full((1,), 0.5).expand(tensor.shape)  # one number on disk
    assert "features.denseblock1.denselayer1.norm.1.weight" in old and "features.norm0.weight" in old
    backbone = DenseNet169(weights=saved(old, tmp_path / "net.pth"))
    assert all((parameter == 0.5).all() for parameter in backbone.parameters())
    assert backbone.report is not None and backbone.report.unused == ["classifier"]


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")  # names and shapes are what is tested
def test_vgg16_takes_its_second_layer_from_a_file_that_has_it_in_this_width(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in VGG16(weights="none", fc=16).net.state_dict().items()}
    state = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    path = saved(state, tmp_path / "vgg16.pt")
    less = saved({name: state[name] for name in state if name != "features.0.weight"}, tmp_path / "less.pt")
    with torch.device("meta"):
        report = VGG16(weights=path, fc=16).report
        assert report is not None
        assert (report.taken, report.random, report.unused) == (30, [], [])
        report = VGG16(weights=path, fc=32).report
        assert report is not None
        assert (report.taken, report.random, report.unused) == (28, ["classifier.3 (32 wide)"], [])
        with pytest.raises(UserError, match=r"does not fit vgg16; of another shape: classifier.3.weight \(16, 4096\)"):
            VGG16(weights=path, fc=4096)
        with pytest.raises(UserError, match=r"does not fit vgg16; missing: features.0.weight\n"):
            VGG16(weights=less, fc=16)


def test_a_wrong_file_is_refused_with_the_first_names_that_do_not_fit(trained: State, tmp_path: Path) -> None:
    small = VGGSmall(channels=(8,)).net.state_dict()
    with pytest.raises(UserError) as caught:
        MobileNetV2(weights=saved(small, tmp_path / "small.pt"))
    assert "small.pt does not fit mobilenet_v2; missing: features.0.0.weight, features.0.1.weight" in str(caught.value)
    assert "and 257 more; unexpected: features.0.weight, features.0.bias, features.1.weight" in str(caught.value)

    bent = trained | {"features.18.0.weight": torch.zeros(1280, 320, 3, 3)}
    with pytest.raises(UserError, match=r"shape: features.18.0.weight \(1280, 320, 3, 3\) instead of \(1280, 320, 1"):
        MobileNetV2(weights=saved(bent, tmp_path / "bent.pt"))

    more = trained | {"features.19.weight": torch.zeros(1)}
    with pytest.raises(UserError, match="mobilenet_v2; unexpected: features.19.weight\n") as caught:
        MobileNetV2(weights=saved(more, tmp_path / "more.pt"))
    assert "torchvision's names for mobilenet_v2" in caught.value.hint


class Harmful:
    """Stands for any object that a pickle could run code with."""


@pytest.mark.parametrize("content", [Harmful(), {"net": Harmful()}, [1, 2], {}, {"state_dict": {"a": 1}}, {"a": "b"}])
def test_a_file_of_anything_but_tensors_is_refused(tmp_path: Path, content: object) -> None:
    path = saved(content, tmp_path / "net.pt")
    with pytest.raises(UserError, match="net.pt (cannot be read|is not a dict of tensors)"):
        VGGSmall(weights=path)


@pytest.mark.parametrize("content", [b"", b"not a network", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_pytorch_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(UserError, match="net.pt cannot be read as PyTorch weights"):
        VGGSmall(weights=str(tmp_path / "net.pt"))


@pytest.mark.parametrize("weights, hint", [("imagnet", "mean backbone.weights=imagenet"), ("a/b.pt", "set backbone")])
def test_a_typo_is_an_error_and_never_a_random_start(weights: str, hint: str) -> None:
    for attempt in (build_backbone, hash_of):
        with pytest.raises(
            UserError, match=f"unknown weights '{weights}': imagenet, none or a path of a file"
        ) as caught:
            attempt(MOBILENET | {"weights": weights})
        assert hint in caught.value.hint


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PyTorch's download folder, empty, and no network."""

    def offline(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    return tmp_path / "checkpoints"


def test_imagenet_without_a_network_names_the_file_and_the_way_round(empty_hub: Path) -> None:
    with pytest.raises(UserError, match=r"https://.*/mobilenet_v2-\w+\.pth") as caught:
        build_backbone(MOBILENET)
    assert "mobilenet_v2-b0353104.pth" in caught.value.hint and "backbone.weights=<path" in caught.value.hint


def test_imagenet_takes_the_downloaded_file(empty_hub: Path, trained: State) -> None:
    empty_hub.mkdir()
    path = saved(trained, empty_hub / "mobilenet_v2-b0353104.pth")
    backbone = build_backbone(MOBILENET)
    assert holds(backbone, trained)
    assert backbone.report is not None and backbone.report.source == path


def test_vgg_small_has_no_imagenet_weights() -> None:
    for attempt in (build_backbone, hash_of):
        with pytest.raises(UserError, match="no ImageNet weights for vgg_small"):
            attempt({"_target_": "retdm.backbones.vgg.VGGSmall", "weights": "imagenet"})


def test_without_weights_the_report_says_that_all_is_random() -> None:
    report = VGGSmall().report
    assert report is not None and report.taken == 0
    assert str(report) == "weights: none; every layer starts at random"


def test_the_hash_follows_the_content_and_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"abc")
    (tmp_path / "b.pt").write_bytes(b"abc")
    (tmp_path / "c.pt").write_bytes(b"abd")
    a, b, c = (hash_of(MOBILENET | {"weights": str(tmp_path / f"{name}.pt")}) for name in "abc")
    assert a == b == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, example "abc"
    assert c != a
    assert hash_of(MOBILENET | {"weights": "none"}) == "none"
    assert hash_of(MOBILENET) == "imagenet:mobilenet_v2-b0353104.pth"  # the default
    assert hash_of({"_target_": "retdm.backbones.vgg.VGGSmall"}) == "none"


def test_a_file_with_a_flipped_byte_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"features.0.0.weight": torch.arange(500.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(500.0).numpy().tobytes()) + 900] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"net\.pt cannot be read as PyTorch weights \(.*data/0 is not what was"):
        read_state(path)
